// Words of the ControlNet panel, and which preprocessor the name of a control model asks for.

/** [label, hover help] of each field of a unit. */
export const WORDS = {
  on: ["Use it", "A unit that is on guides the next picture, in every way of making one."],
  preprocessor: ["Preprocessor", "What is taken from the picture: its edges, its depth, its colours."],
  model: ["Control model", "What reads the hint. It must fit the model that paints."],
  weight: ["Weight", "How strongly the hint guides. 1 is what it was trained for."],
  start: ["From", "Share of the steps after which the control begins."],
  end: ["Until", "Share of the steps after which the control ends. Less than 1 leaves the details to the prompt."],
  mode: ["Which is more important", "Where the prompt and the hint want different things."],
  resize: ["If the shape differs", "How the hint is made as large as the picture."],
  pixel_perfect: ["Pixel perfect", "Works at the size at which nothing has to be resized afterwards."],
  resolution: ["Working size px", "Shorter side at which the preprocessor looks. Larger sees finer things."],
};

export const MODES = [["balanced", "balanced"], ["prompt", "my prompt"], ["control", "the control"]];
export const RESIZES = [["stretch", "Just resize"], ["crop", "Crop and resize"], ["fill", "Resize and fill"]];

/** The first word that occurs in the name of a model decides; of several preprocessors the first that is installed. */
const ASKED = [
  [/ip[-_ ]?adapter|[-_]ip2p|qr[-_ ]?code|inpaint/, "none"],
  [/canny|\bedges\b/, "canny"],
  [/scribble|sketch/, "scribble"],
  [/soft[-_ ]?edge|pidi|hed(?![a-z])/, "hed", "softedge"],
  [/line[-_ ]?art/, "lineart"],
  [/mlsd|lines/, "lines"],
  [/depth/, "depth"],
  [/normal/, "normal"],
  [/pose/, "openpose"],
  [/seg(?![a-z])|segmentation/, "seg"],
  [/recolou?r|luminance/, "luminance"],
  [/shuffle/, "shuffle"],
  [/tile/, "tile"],
  [/blur/, "blur"],
  [/colou?r/, "color"],
];

/** Names of preprocessors, the best one first; none where the name says nothing. */
export function askedBy(name) {
  const words = name.toLowerCase();
  const [, ...names] = ASKED.find(([pattern]) => pattern.test(words)) ?? [];
  return names;
}

/** Why nothing can be chosen, and where files go. */
export const NO_MODELS =
  "There are no control models yet. Put ControlNet, T2I-Adapter or IP-Adapter files (.safetensors) into the folder " +
  "data/models/controlnet; they appear here by themselves. The preview works without one.";
