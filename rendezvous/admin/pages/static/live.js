// Keeps a list alive: fetches its page again now and then and replaces the list, while nobody is busy with it.
const state = document.getElementById("state");
const BUSY = 3000, EVERY = 4000, SHARE = 20;
let touched = -Infinity, wait = EVERY;

for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "scroll"]) {
  addEventListener(kind, () => { touched = performance.now(); }, { capture: true, passive: true });
}

function inUse(list) {
  return document.hidden || performance.now() - touched < BUSY || list.contains(document.activeElement)
    || !document.getSelection().isCollapsed;
}

function say(text) {
  if (state.textContent !== text) state.textContent = text;
}

async function refresh() {
  const list = document.getElementById("live");
  if (inUse(list)) return;
  const began = performance.now();
  const answer = await fetch(location.href, { headers: { "X-By-Itself": "1" } });
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
  // one that takes the server long comes seldom
  wait = Math.max(EVERY, SHARE * (performance.now() - began));
  if (answer.redirected) location.reload();  // the login has ended
  else if (!answer.ok || !fresh) say("The server refuses to tell more; load this page again.");
  else {
    if (!inUse(list) && fresh.innerHTML !== list.innerHTML) list.replaceWith(fresh);
    say("Live. It stands still while you use it.");
  }
}

async function keepFresh() {
  try {
    await refresh();
  } catch {
    say("Connection lost; trying again.");
  }
  setTimeout(keepFresh, wait);
}
setTimeout(keepFresh, EVERY);
