"""The script of the replay: it shows one stage at a time, and changes nothing that is not shown anyway.

Keys: arrows and space, Home and End, p or Enter on the button to play and pause. A stage has its own address.
"""

from __future__ import annotations

from b2dinspect.render.annotated import script

SECONDS = 4
SCRIPT = """
"use strict";
(() => {
  const root = document.documentElement;
  const scenes = [...document.querySelectorAll(".scene")];
  const marks = [...document.querySelectorAll(".marks a")];
  const button = name => document.querySelector(`[data-go="${name}"]`);
  let now = 0, timer = 0;
  if (!scenes.length) return;
  root.classList.add("scripted");

  function show(index, focus, kept) {
    now = Math.max(0, Math.min(scenes.length - 1, index));
    scenes.forEach((scene, at) => scene.classList.toggle("now", at === now));
    marks.forEach((mark, at) => at === now
      ? mark.setAttribute("aria-current", "step") : mark.removeAttribute("aria-current"));
    if (focus) scenes[now].focus({preventScroll: root.classList.contains("playing")});
    const wanted = "#stage-" + (now + 1);
    if (!kept && !location.hash.startsWith(wanted + "-") && location.hash !== wanted) {
      try { history.replaceState(null, "", wanted); } catch (error) { /* a page inside of a notebook */ }
    }
  }
  function pause() {
    clearInterval(timer);
    timer = 0;
    button("play").setAttribute("aria-pressed", "false");
  }
  function play() {
    if (timer) return pause();
    if (now === scenes.length - 1) show(0);
    one(true);
    button("play").setAttribute("aria-pressed", "true");
    timer = setInterval(() => { now < scenes.length - 1 ? show(now + 1) : pause(); }, SECONDS * 1000);
  }
  function one(yes) {
    root.classList.toggle("playing", yes);
    button("all").setAttribute("aria-pressed", String(!yes));
  }
  function go(name) {
    if (name !== "play") pause();
    if (name === "play") play();
    else if (name === "all") one(!root.classList.contains("playing"));
    else show({first: 0, back: now - 1, on: now + 1, last: scenes.length - 1}[name], true);
  }
  function follow() {
    const found = location.hash && document.getElementById(location.hash.slice(1));
    const scene = found && found.closest(".scene");
    if (!scene) return;
    show(scenes.indexOf(scene));
    if (found.tagName === "DETAILS") found.open = true;
    found.scrollIntoView({block: "nearest"});
  }
  document.addEventListener("click", event => {
    const pressed = event.target.closest("[data-go], [data-language], a[href^='#']");
    if (!pressed) return;
    if (pressed.dataset.go) go(pressed.dataset.go);
    else if (pressed.dataset.language) root.lang = pressed.dataset.language;
    else {
      pause();
      setTimeout(follow);
    }
  });
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.closest("input")) return;
    if (event.target.closest("button, summary, a, .bytes") && [" ", "Enter"].includes(event.key)) return;
    const names = {ArrowRight: "on", ArrowLeft: "back", " ": "on", Home: "first", End: "last", p: "play"};
    const name = names[event.key];
    if (!name || (event.target.closest(".bytes") && event.key.startsWith("Arrow"))) return;
    event.preventDefault();
    go(name);
  });
  addEventListener("hashchange", follow);
  one(true);
  show(0, false, location.hash);
  follow();
})();
""".replace("SECONDS", str(SECONDS))
SCRIPT += script.SCRIPT
ELEMENT = f"<script>{SCRIPT}</script>"
