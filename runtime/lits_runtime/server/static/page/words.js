// What the server says, in the words of those who read scans.

// The first that fits a message: what is wrong, and what to do about it.
const KNOWN = [
  [/no CT series|no scan in this folder/, "There is no CT series in what was sent.", "Send the folder of one CT series: axial images, not a report, a localiser or another modality."],
  [/slices? (is|are) missing|missing, .*after/, "Images of the series are missing.", "Send the series again from the PACS, complete."],
  [/not evenly spaced|off the line through/, "The slices are not evenly spaced.", "Send another reconstruction of the examination, with one spacing."],
  [/which no acquisition number|several series/, "Several series are mixed.", "Send one series, for example the portal venous phase alone."],
  [/no RescaleSlope|modality LUT|not HU|not Hounsfield|projection or a map/, "The grey values are not Hounsfield units.", "Send the original CT series, not a derived or rescaled one."],
  [/ZIP archive/, "The ZIP archive cannot be read.", "Pack the folder again without a password, or drop the folder itself."],
  [/damaged DICOM|truncated|changed while|cannot be decoded|no pixels/, "The scan is damaged or incomplete.", "Copy it again, and send it again."],
  [/not a readable NIfTI|no NIfTI magic|it is gzip|it is not gzip|header is that of/, "This file is no CT scan that can be read.", "Send DICOM, or NIfTI (.nii, .nii.gz)."],
  [/expected one volume|dimensions/, "The file holds several volumes or a picture.", "Send one volume: one phase of the CT."],
  [/are no CT|which no CT has|affine|not finite|expected integers or floats/, "Size or position of the voxels cannot be right.", "Convert the scan from DICOM again, or send the DICOM images."],
  [/more than \d+ bytes|axial slices of|expected 1 to/, "The scan is too large for this server.", "Send a thinner range or thicker slices, or ask the administrator to raise the limit."],
  [/killed by signal|enough memory|out of memory/, "The server ran out of memory with this scan.", "Send a series with thicker slices, or ask the administrator."],
  [/not done after/, "The scan took too long.", "Ask the administrator: the server is too slow for it, or something is stuck."],
  [/disk of the server is full/, "The disk of the server is full.", "Tell the administrator. Scans that were accepted before are not lost."],
  [/queue is full/, "The server has as many scans waiting as it takes.", "Send the scan again in a few minutes."],
  [/no token/, "The token is missing or wrong.", "Ask the administrator for the access token."],
  [/too slowly|hung up|connection to the server broke|Failed to fetch|NetworkError/, "The connection to the server broke.", "Check the network, and send the scan again."],
  [/pydicom/, "This server reads no DICOM.", "Ask the administrator to install its DICOM part."],
  [/no worker is ready/, "The server is just starting.", "Try again in a minute."],
  [/a bug in lits-toolkit/, "The program failed on this scan.", "Please report it to the administrator with the text below."],
];

export function explain(message) {
  const found = KNOWN.find(([pattern]) => pattern.test(message));
  if (found === undefined) return { what: "This scan could not be segmented.", todo: "The reason, as the program gives it, is below." };
  return { what: found[1], todo: found[2] };
}

export function stateOf(job) {
  if (job.state === "queued") return job.position === 1 ? "Waiting, next in line" : `Waiting, ${job.position - 1} before it`;
  if (job.state === "running") return `Being segmented, ${Math.round(100 * (job.progress ?? 0))} %`;
  return { done: "Done", failed: "Failed", cancelled: "Cancelled" }[job.state];
}

export function millilitres(value) {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ml`;
}

export function megabytes(bytes) {
  return `${(bytes / 2 ** 20).toFixed(bytes < 2 ** 24 ? 1 : 0)} MB`;
}

export function moment(seconds) {
  return new Date(1000 * seconds).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

export function lesionsFound(count) {
  if (count === 0) return "No lesion found";
  return count === 1 ? "1 lesion" : `${count} lesions`;
}
