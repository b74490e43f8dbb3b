// Files of DICOM slices in series that form a volume each, or why they form none: those rules of
// lits_runtime/volumes/dicom/sorting by which a series is refused. Phases are not separated, and gaps not filled.

import { readHeader } from "./dicom_header.js";

const CT = "1.2.840.10008.5.1.4.1.1.2";
const ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1";
const [TOLERANCE, TOLERANCE_MM] = [0.01, 0.01]; // of a step between slices, whichever is larger
const DIRECTION = 1e-3;
const AXIAL = 0.7; // least cosine between normal and body axis
const TILT = Math.cos(Math.PI / 360); // half a degree
const DERIVED = new Set(["MIP", "MINIP", "MAXIP", "IODINE", "VNC", "PROJECTION IMAGE", "SCREEN SAVE"]);
const ELSEWHERE = "lits-infer and lits-serve may read it";

// Series { name, text, slices, step }, the most fitting first, and why others are refused.
export async function findSeries(files, tell) {
  const groups = new Map();
  const refused = [];
  for (const [at, file] of files.entries()) {
    if (at % 16 === 0) tell(at, files.length);
    try {
      const header = checked(await readHeader(file), file.name);
      if (header === null) continue;
      const key = [header.series, header.rows, header.columns, header.frame, header.imageType?.[0], header.acquisition, header.phase].join();
      place(groups, key, { ...header, file });
    } catch (error) {
      refused.push(error.message);
    }
  }
  const series = [];
  for (const slices of [...groups.values()].flat()) {
    try {
      series.push(sorted(slices));
    } catch (error) {
      refused.push(`${nameOf(slices[0])}: ${error.message}`);
    }
  }
  series.sort((one, other) => other.fitness - one.fitness);
  return { series, refused };
}

// The header with its numbers; null for what is no slice of a CT.
function checked(header, name) {
  if (header.sopClass === ENHANCED_CT) throw new Error(`${name} is a multi-frame CT, which this page does not read; ${ELSEWHERE}.`);
  if (header.sopClass !== CT || header.imageType?.includes("LOCALIZER")) return null;
  const numbers = (values, count) => {
    const found = (values ?? []).map(Number);
    if (found.length !== count || !found.every(Number.isFinite)) throw new Error(`${name} does not say where its slice lies.`);
    return found;
  };
  if (header.slope === undefined || header.intercept === undefined || !["HU", "US", "", undefined].includes(header.rescaleType)) {
    throw new Error(`${name} has values that are not in Hounsfield units.`);
  }
  if (!(header.rows && header.columns) || header.samples !== 1) throw new Error(`${name} is no slice of a CT.`);
  return {
    ...header,
    position: numbers(header.position, 3),
    orientation: numbers(header.orientation, 6),
    spacing: numbers(header.spacing, 2),
    slope: Number(header.slope),
    intercept: Number(header.intercept),
  };
}

// Puts a slice to those of its plane and pixel size.
function place(groups, key, slice) {
  if (!groups.has(key)) groups.set(key, []);
  const alike = groups.get(key);
  const group = alike.find(([first]) =>
    first.orientation.every((value, at) => Math.abs(value - slice.orientation[at]) <= DIRECTION)
    && first.spacing.every((value, at) => Math.abs(value / slice.spacing[at] - 1) <= DIRECTION));
  if (group === undefined) alike.push([slice]);
  else group.push(slice);
}

function sorted(all) {
  const slices = [...new Map(all.map((slice) => [slice.uid ?? slice.file, slice])).values()];
  const [first] = slices;
  const normal = cross(first.orientation.slice(0, 3), first.orientation.slice(3));
  for (const slice of slices) slice.along = dot(slice.position, normal);
  slices.sort((one, other) => one.along - other.along);
  if (slices.length < 2) throw new Error("one slice, of which dcm2niix makes no volume");
  const steps = slices.slice(1).map((slice, at) => slice.along - slices[at].along);
  const step = evenStep(steps);
  const ends = [0, 1, 2].map((axis) => slices.at(-1).position[axis] - slices[0].position[axis]);
  if (dot(ends, normal) < TILT * Math.hypot(...ends)) throw new Error(`the gantry is tilted, or slices are shifted; ${ELSEWHERE}`);
  return {
    name: nameOf(first), text: textOf(first, slices, step, normal), slices, step,
    fitness: fitness(first, slices, step, normal),
  };
}

// The distance between neighbours, mm.
function evenStep(steps) {
  const least = Math.min(...steps);
  if (least < TOLERANCE_MM) throw new Error(`several slices at one place, as of two phases; ${ELSEWHERE}`);
  const likely = steps.filter((step) => step < 1.5 * least).sort((one, other) => one - other);
  const usual = likely[Math.floor(likely.length / 2)];
  const tolerance = Math.max(TOLERANCE * usual, TOLERANCE_MM);
  for (const step of steps) {
    const count = Math.round(step / usual);
    if (Math.abs(step - count * usual) > tolerance * count) {
      throw new Error(`steps of ${Math.min(...steps).toPrecision(4)} to ${Math.max(...steps).toPrecision(4)} mm between slices, which are not evenly spaced`);
    }
  }
  const missing = steps.reduce((sum, step) => sum + Math.round(step / usual) - 1, 0);
  if (missing) throw new Error(`${missing} ${missing === 1 ? "slice is" : "slices are"} missing: copy the series again`);
  return steps.reduce((sum, step) => sum + step, 0) / steps.length;
}

// Axial, as it was reconstructed, long enough for a liver, slices of a usual distance; then the most slices.
function fitness(first, slices, step, normal) {
  const points = [
    Math.abs(normal[2]) >= AXIAL,
    !first.imageType?.slice(2).some((kind) => DERIVED.has(kind.toUpperCase())),
    slices.length * step >= 100,
    step > 0.99 && step < 5.01,
  ];
  return points.reduce((sum, point) => sum * 2 + point, 0) * 1e6 + slices.length;
}

function nameOf(slice) {
  return slice.number ? `Series ${slice.number}` : "Series without a number";
}

function textOf(first, slices, step, normal) {
  const direction = Math.abs(normal[2]) >= AXIAL ? "" : ", not axial";
  return `${nameOf(first)}${first.description ? ` (${first.description})` : ""}: ${slices.length} slices in steps of ${step.toPrecision(3)} mm${direction}`;
}

function dot(one, other) {
  return one[0] * other[0] + one[1] * other[1] + one[2] * other[2];
}

function cross([a, b, c], [d, e, f]) {
  return [b * f - c * e, c * d - a * f, a * e - b * d];
}
