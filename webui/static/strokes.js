// What was painted on a mask, as a list of deeds: undoing is replaying all but the last. The alpha of the canvas is the mask.

const INK = "#e0218a";

/** Piece by piece, as it was drawn while the pointer moved: replaying gives the very same pixels. */
function line(context, { points, size, erase }) {
  context.globalCompositeOperation = erase ? "destination-out" : "source-over";
  context.lineWidth = size;
  context.lineCap = "round";
  if (points.length === 1) {
    context.beginPath();
    context.arc(...points[0], size / 2, 0, 2 * Math.PI);
    context.fill();
  }
  for (let at = 1; at < points.length; at += 1) {
    context.beginPath();
    context.moveTo(...points[at - 1]);
    context.lineTo(...points[at]);
    context.stroke();
  }
}

const everything = (operation) => (context) => {
  context.globalCompositeOperation = operation;
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
};

const DEEDS = {
  stroke: line,
  clear: everything("destination-out"),
  fill: everything("source-over"),
  invert: everything("xor"),
  picture: (context, { image }) => {
    context.globalCompositeOperation = "copy";
    context.drawImage(image, 0, 0, context.canvas.width, context.canvas.height);
  },
};

export class Strokes {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.start(1, 1);
  }

  start(width, height) {
    this.canvas.width = width;
    this.canvas.height = height;
    this.deeds = [];
    this.undone = [];
  }

  do(deed) {
    this.deeds.push(deed);
    this.undone = [];
    this.draw(deed);
  }

  draw(deed) {
    this.context.strokeStyle = this.context.fillStyle = INK;
    DEEDS[deed.kind](this.context, deed);
  }

  /** A stroke that goes on: only the new piece is drawn. */
  extend(stroke, point) {
    const last = stroke.points.at(-1);
    stroke.points.push(point);
    this.draw({ ...stroke, points: [last, point] });
  }

  undo() {
    if (this.deeds.length) this.undone.push(this.deeds.pop());
    this.replay();
  }

  redo() {
    if (this.undone.length) this.deeds.push(this.undone.pop());
    this.replay();
  }

  /** From the start; a stroke begins with a dot, as it did under the pointer. */
  replay() {
    this.context.globalCompositeOperation = "source-over";
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (const deed of this.deeds) {
      if (deed.points?.length > 1) this.draw({ ...deed, points: deed.points.slice(0, 1) });
      this.draw(deed);
    }
  }

  get empty() {
    if (!this.deeds.length) return true;
    const { data } = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    for (let at = 3; at < data.length; at += 4) if (data[at]) return false;
    return true;
  }

  /** A PNG in which white is painted and black is not. */
  export() {
    const { width, height } = this.canvas;
    const out = new OffscreenCanvas(width, height);
    const context = out.getContext("2d");
    context.drawImage(this.canvas, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    return out.convertToBlob({ type: "image/png" });
  }
}

/** A black and white picture as ink: what is bright is painted. */
export async function inkOf(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(INK.slice(at, at + 2), 16));
  for (let at = 0; at < pixels.data.length; at += 4) {
    const bright = 0.299 * pixels.data[at] + 0.587 * pixels.data[at + 1] + 0.114 * pixels.data[at + 2];
    pixels.data.set([red, green, blue, bright], at);
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}
