// A scan and its mask in a canvas: three planes and 3D, by NiiVue, for both pages.

import "./vendor/niivue.umd.js";

const { Niivue, SLICE_TYPE } = globalThis.niivue;
const PLANES = {
  axial: SLICE_TYPE.AXIAL,
  coronal: SLICE_TYPE.CORONAL,
  sagittal: SLICE_TYPE.SAGITTAL,
  "3d": SLICE_TYPE.RENDER,
};
// All at once, as [left, top, width, height]: the axial plane large, or in a narrow canvas four of a size.
const WIDE = { axial: [0, 0, 0.66, 1], coronal: [0.66, 0, 0.34, 1 / 3], sagittal: [0.66, 1 / 3, 0.34, 1 / 3], "3d": [0.66, 2 / 3, 0.34, 1 / 3] };
const SQUARE = { axial: [0, 0, 0.5, 0.5], coronal: [0.5, 0, 0.5, 0.5], sagittal: [0, 0.5, 0.5, 0.5], "3d": [0.5, 0.5, 0.5, 0.5] };
const WIDE_FROM = 1.25; // width over height
const KEYS = {
  ArrowLeft: [1, 0, 0], // the patient's right is on the left
  ArrowRight: [-1, 0, 0],
  ArrowUp: [0, 1, 0],
  ArrowDown: [0, -1, 0],
  PageUp: [0, 0, 1],
  PageDown: [0, 0, -1],
};

export const WINDOWS = { abdomen: [-100, 240], liver: [0, 160], narrow: [-10, 110] };
export const COLOURS = { liver: "#f0e442", lesion: "#d55e00" };

function channel(at) {
  return [0, ...Object.values(COLOURS).map((colour) => parseInt(colour.slice(at, at + 2), 16))];
}

const LABELS = { R: channel(1), G: channel(3), B: channel(5), A: [0, 255, 255], I: [0, 1, 2], labels: ["", "liver", "lesion"] };

export class Viewer {
  // Called as (mm, hu) when the crosshair has moved: world coordinates, RAS+, and the scan's value there.
  onMove = () => {};

  constructor(niivue) {
    this.niivue = niivue;
    this.window = WINDOWS.abdomen;
    this.opacity = 0.35;
    this.plane = "all";
    niivue.onLocationChange = ({ mm, values }) => this.onMove([...mm].slice(0, 3), values[0]?.value);
  }

  // The canvas takes the size of the element that it is in. Throws an Error for people if this browser cannot draw.
  static async open(canvas) {
    if (document.createElement("canvas").getContext("webgl2") === null) {
      throw new Error("This browser cannot draw the scan: WebGL 2 is switched off or missing.");
    }
    const niivue = new Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.34, 0.71, 0.91, 0.8],
      crosshairGap: 6,
      crosshairWidth: 0.4,
      crosshairWidthUnit: "percent",
      dragAndDropEnabled: false,
      fontColor: [1, 1, 1, 1],
      isOrientCube: true,
      isRadiologicalConvention: true,
      loadingText: "",
      logLevel: "silent",
      show3Dcrosshair: true,
    });
    await niivue.attachToCanvas(canvas);
    const viewer = new Viewer(niivue);
    canvas.addEventListener("keydown", (event) => viewer.#key(event));
    new ResizeObserver(() => viewer.setPlane(viewer.plane)).observe(canvas.parentElement);
    return viewer;
  }

  // Shows a scan, an ArrayBuffer or Blob of a NIfTI file whose name says whether it is compressed.
  async show(scan, name) {
    this.clear();
    try {
      await this.niivue.loadFromArrayBuffer(await bytesOf(scan), name);
    } catch {
      throw new Error(`${name} cannot be drawn: it is no NIfTI file, or too large for this browser.`);
    }
    if (!this.niivue.volumes.length) throw new Error(`${name} cannot be drawn: it is no NIfTI file.`);
    this.setWindow(...this.window);
  }

  // Shows the labels of the scan: 1 liver, 2 lesion.
  async showMask(mask, name = "mask.nii.gz") {
    for (const shown of this.niivue.volumes.slice(1)) this.niivue.removeVolume(shown);
    await this.niivue.loadFromArrayBuffer(await bytesOf(mask), name);
    this.niivue.volumes[1].setColormapLabel(LABELS);
    this.setOpacity(this.opacity);
  }

  clear() {
    for (const shown of this.niivue.volumes.slice().reverse()) this.niivue.removeVolume(shown);
    this.niivue.drawScene();
  }

  // One of "all", "axial", "coronal", "sagittal", "3d".
  setPlane(plane) {
    this.plane = plane;
    if (plane !== "all") {
      this.niivue.clearCustomLayout();
      this.niivue.setSliceType(PLANES[plane]);
      return;
    }
    const { clientWidth, clientHeight } = this.niivue.canvas.parentElement;
    const layout = clientWidth > WIDE_FROM * clientHeight ? WIDE : SQUARE;
    this.niivue.setSliceType(SLICE_TYPE.MULTIPLANAR);
    this.niivue.setCustomLayout(Object.entries(layout).map(([name, position]) => ({ sliceType: PLANES[name], position })));
  }

  // HU shown as black and as white.
  setWindow(low, high) {
    this.window = [low, high];
    const [scan] = this.niivue.volumes;
    if (scan === undefined) return;
    scan.cal_min = low;
    scan.cal_max = high;
    this.niivue.updateGLVolume();
  }

  // Of the mask, 0 to 1; 0 hides it.
  setOpacity(opacity) {
    this.opacity = opacity;
    if (this.niivue.volumes.length > 1) this.niivue.setOpacity(1, opacity);
  }

  // Moves the crosshair to world coordinates in mm, RAS+.
  jumpTo(mm) {
    this.niivue.scene.crosshairPos = this.niivue.mm2frac(mm);
    this.niivue.createOnLocationChange();
    this.niivue.drawScene();
  }

  #key(event) {
    const step = KEYS[event.key];
    if (step === undefined || !this.niivue.volumes.length) return;
    event.preventDefault();
    const { niivue } = this;
    if (this.plane !== "3d") niivue.moveCrosshairInVox(...step);
    else niivue.setRenderAzimuthElevation(niivue.scene.renderAzimuth + 5 * step[0], niivue.scene.renderElevation + 5 * step[1]);
  }
}

function bytesOf(content) {
  return content instanceof Blob ? content.arrayBuffer() : content;
}
