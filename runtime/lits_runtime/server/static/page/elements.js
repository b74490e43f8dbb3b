// Elements of the page: found, and made.

export const find = (selector, within = document) => within.querySelector(selector);

// make("p", {class: "quiet", hidden: true, onclick: f}, "text", other elements...)
export function make(tag, properties = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on") || typeof value === "boolean") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...content);
  return element;
}

// Changes text only if it differs, so that a screen reader does not read it again.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function pairs(entries) {
  return entries.flatMap(([term, value]) => [make("dt", {}, term), make("dd", {}, value)]);
}
