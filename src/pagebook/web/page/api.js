// Questions to the server, with the token that came in the fragment of the opened link.

const KEPT = "pagebook-token";

/** Take the token out of the address, so that a copied link does not hold it. */
export function takeToken() {
  const words = new URLSearchParams(location.hash.slice(1));
  const given = words.get("token");
  if (!given) return;
  localStorage.setItem(KEPT, given);
  words.delete("token");
  history.replaceState(null, "", `#${words}`);
}

/** The answer to a question, of the step of the tape that the link is of; an Error with the server's sentence when there is none. */
export async function ask(name, query = {}, signal = undefined) {
  const { ops, t } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const words = new URLSearchParams(Object.entries({ ops, t, ...query }).filter(([, value]) => value !== null && value !== undefined && value !== ""));
  let answer;
  try {
    answer = await fetch(`/api/${name}?${words}`, { headers: { Authorization: `Bearer ${localStorage.getItem(KEPT) ?? ""}` }, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer: 'pagebook serve' has ended");
  }
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

/** A function that asks, and gives null for an answer that a later question has overtaken. */
export function latest() {
  let running = null;
  return async (name, query) => {
    running?.abort();
    const mine = (running = new AbortController());
    try {
      const found = await ask(name, query, mine.signal);
      return running === mine ? found : null;
    } catch (error) {
      if (error.name === "AbortError") return null;
      throw error;
    }
  };
}
