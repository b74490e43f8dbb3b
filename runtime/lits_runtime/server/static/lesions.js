// Stub until local's comes.
export function lesionTable(tbody, lesions, jump) {
  lesions.forEach((lesion, place) => {
    const row = tbody.insertRow();
    const button = document.createElement("button");
    button.textContent = place + 1;
    button.setAttribute("aria-label", `Show lesion ${place + 1}`);
    button.onclick = () => { for (const one of tbody.rows) one.removeAttribute("aria-current"); row.setAttribute("aria-current", "true"); jump(lesion.centroid_mm); };
    row.insertCell().append(button);
    for (const text of [`${lesion.volume_ml.toFixed(1)} ml`, `${lesion.longest_axial_diameter_mm.toFixed(0)} mm`, `${lesion.mean_hu.toFixed(0)} HU`, `${lesion.slices[0] + 1}-${lesion.slices[1] + 1}`]) row.insertCell().textContent = text;
  });
}
