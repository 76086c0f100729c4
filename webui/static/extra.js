// What the panels add to a request, and what they take back from one.
//
//   contribute("control", async (mode) => ({control: [...]}) or null)   fields for a request that is about to be sent
//   provide("control", (request, {partial}) => ...)                     a stored request fills the form again
//   take("control", (input) => ...)                                     a picture {id, width, height, url} is sent here
//
// Panels may be drawn late: what came before they were there is handed over when they are.

const collectors = new Map();
const fillers = new Map();
const takers = new Map();
const waiting = new Map();
let last = null;

export function contribute(name, collect) {
  collectors.set(name, collect);
}

export function provide(name, fill) {
  fillers.set(name, fill);
  if (last) fill(...last);
}

export function take(name, receive) {
  takers.set(name, receive);
  if (!waiting.has(name)) return;
  receive(waiting.get(name));
  waiting.delete(name);
}

/** All fields for a request in this mode. Raises what a panel raises, such as a failed upload. */
export async function collectAll(mode) {
  const found = await Promise.all([...collectors.values()].map((collect) => collect(mode)));
  return Object.assign({ mode }, ...found.filter(Boolean));
}

/** `partial`: what the request does not name stays as it is. */
export function fillAll(request, partial = false) {
  // A partial request adds to what a late panel has yet to read.
  last = partial && last ? [{ ...last[0], ...request }, last[1]] : [request, { partial }];
  for (const fill of fillers.values()) fill(request, { partial });
}

export function give(name, input) {
  const receive = takers.get(name);
  if (receive) receive(input);
  else waiting.set(name, input);
}
