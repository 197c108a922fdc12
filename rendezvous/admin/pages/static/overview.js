// Keeps the overview alive: figures from server-sent events, charts from the history that the server keeps.
const group = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const formats = {
  number: value => group.format(value).replaceAll(",", "\u202f"),
  rate: value => `${(value * 8 / 1e6).toFixed(1)} Mbit/s`,
  size: value => {
    for (const unit of ["B", "kB", "MB", "GB"]) {
      if (value < 1000) return `${value.toFixed(unit === "B" ? 0 : 1)} ${unit}`;
      value /= 1000;
    }
    return `${value.toFixed(1)} TB`;
  },
  duration: value => {
    const seconds = Math.floor(value), days = Math.floor(seconds / 86400);
    const hours = Math.floor(seconds / 3600) % 24, minutes = Math.floor(seconds / 60) % 60;
    if (days) return `${days} d ${hours} h`;
    if (hours) return `${hours} h ${minutes} min`;
    return minutes ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
  },
};
const WIDTH = 600, HEIGHT = 100, MBIT = 125000;
const state = document.getElementById("live");

function ago(seconds) {
  if (seconds >= 7200) return `${Number((seconds / 3600).toFixed(1))} h`;
  return seconds >= 120 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds)} s`;
}

function say(text) {
  if (state.textContent !== text) state.textContent = text;
}

// The end of a scale: the next of 1, 2, 4, 5, 10, 20, ... above a value.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map(step => step * power).find(end => end >= value * 0.999);
}

function draw(figure, points) {
  const index = Number(figure.dataset.index), format = formats[figure.dataset.format];
  const whole = Number(figure.dataset.seconds), oldest = points.length ? points[0][0] : 0;
  const span = oldest > 0.95 * whole ? whole : Math.max(60, oldest);
  const values = points.map(point => point[index]);
  const unit = figure.dataset.format === "rate" ? MBIT : 1;
  const most = Math.max(...values), least = Math.min(...values);
  const end = roundUp(Math.max(2, most / unit)) * unit;
  const across = point => WIDTH * (1 - Math.min(1, point[0] / span));
  const corners = points.map(point => `${across(point).toFixed(1)},${(HEIGHT * (1 - point[index] / end)).toFixed(1)}`);
  const area = points.length ? [`${across(points[0])},${HEIGHT}`, ...corners, `${across(points.at(-1))},${HEIGHT}`] : [];
  figure.querySelector("polyline").setAttribute("points", corners.join(" "));
  figure.querySelector("polygon").setAttribute("points", area.join(" "));
  const text = points.length
    ? `now ${format(values.at(-1))}, between ${format(least)} and ${format(most)}`
    : "no figures yet";
  figure.querySelector("output").textContent = text;
  figure.querySelector("svg").setAttribute("aria-label", `${figure.dataset.title}: ${text}`);
  figure.querySelector(".from").textContent = `${ago(span)} ago`;
  figure.querySelector(".half").textContent = `${ago(span / 2)}`;
  figure.querySelectorAll(".scale span").forEach((label, at) => {
    label.textContent = format(end * (2 - at) / 2).replace(".0 ", " ");
  });
}

async function drawAll() {
  try {
    const answer = await fetch("/history");
    if (!answer.ok) return;
    const history = await answer.json();
    for (const figure of document.querySelectorAll("figure")) draw(figure, history[figure.dataset.span]);
  } catch { /* the events tell that the server is gone */ }
}

const events = new EventSource("/events");
events.onopen = () => say("Live");
events.onerror = () => say(events.readyState === EventSource.CLOSED ? "Ended; load this page again" : "Connection lost; trying again");
events.onmessage = event => {
  const figures = JSON.parse(event.data);
  for (const element of document.querySelectorAll("[data-figure]")) {
    const value = figures[element.dataset.figure];
    if (value !== undefined) element.textContent = formats[element.dataset.format](value);
  }
};
drawAll();
setInterval(drawAll, 10000);
