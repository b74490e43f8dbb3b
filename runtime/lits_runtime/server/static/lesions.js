// A table of lesions from which one jumps to each, for both pages.

const COLUMNS = [
  ["Volume, ml", (lesion) => figure(lesion.volume_ml)],
  ["Longest diameter, mm", (lesion) => figure(lesion.longest_axial_diameter_mm)],
  ["Mean HU", (lesion) => Math.round(lesion.mean_hu)],
  ["Slices", ({ slices: [first, last] }) => (first === last ? `${first + 1}` : `${first + 1} to ${last + 1}`)],
];

// Fills a <table> with lesions of a report; `jump` is called with the lesion of the row whose button is pressed.
export function lesionTable(table, lesions, jump) {
  const caption = element("caption", lesions.length ? "Lesions, the largest first. Slices are counted from 1 as they are stored." : "No lesion was found.");
  const head = element("tr");
  for (const title of ["Lesion", ...COLUMNS.map(([title]) => title)]) {
    const cell = element("th", title);
    cell.scope = "col";
    head.append(cell);
  }
  const body = element("tbody");
  for (const [at, lesion] of lesions.entries()) {
    const row = element("tr");
    const first = element("th");
    first.scope = "row";
    const button = element("button", `${at + 1}`);
    button.type = "button";
    button.setAttribute("aria-label", `Show lesion ${at + 1}`);
    button.onclick = () => {
      body.querySelector("[aria-current]")?.removeAttribute("aria-current");
      row.setAttribute("aria-current", "true");
      jump(lesion);
    };
    first.append(button);
    row.append(first, ...COLUMNS.map(([, value]) => element("td", value(lesion))));
    body.append(row);
  }
  const header = element("thead");
  header.append(head);
  table.replaceChildren(caption, ...(lesions.length ? [header, body] : []));
}

export function figure(value) {
  return value.toFixed(value < 10 ? 1 : 0);
}

function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
