"""Judgement: small pure functions from facts to findings, listed in the order in which they are asked."""
