"""Getting an owner back into a machine: plan, change, proof, backup."""
