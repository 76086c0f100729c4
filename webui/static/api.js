// Calls to our own API. Every failure is an Error with a `problem`, in the server's words where it has some.

export class ProblemError extends Error {
  constructor(problem) {
    super([problem.detail, problem.hint].filter(Boolean).join(" "));
    this.problem = problem;
  }
}

const OFFLINE = {
  code: "offline",
  title: "The studio does not answer",
  detail: "The studio does not answer.",
  hint: "Is it still running in its terminal? This page goes on by itself when it is back.",
};

export async function call(path, { method = "GET", json, body, signal } = {}) {
  const headers = {};
  if (["POST", "PUT", "PATCH"].includes(method)) headers["content-type"] = "application/json";
  if (body) delete headers["content-type"];
  let reply;
  try {
    reply = await fetch("/api/v1" + path, { method, headers, signal, body: body ?? (json && JSON.stringify(json)) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ProblemError(OFFLINE);
  }
  const answer = await reply.json().catch(() => null);
  if (reply.ok) return answer;
  throw new ProblemError(answer ?? { code: "http", title: "The request failed", detail: `Status ${reply.status}.` });
}

const known = new Map();

/** A picture's record; records never change but for their rating. */
export async function record(id) {
  if (!known.has(id)) known.set(id, await call(`/records/${id}`));
  return known.get(id);
}

export function remember(found) {
  known.set(found.id, found);
  return found;
}

export function forget(id) {
  known.delete(id);
}
