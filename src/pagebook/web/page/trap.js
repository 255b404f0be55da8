// What a kernel printed of a trap, as somebody pastes it.

const OF_A_TRAP = /\b(?:usertrap|kerneltrap|[ms]?cause|[ms]?tval|[ms]?badaddr|[ms]?epc|pid)\b[\s:=]*\S*/gi;
const LONGEST = 220; // letters that a question can hold, in which a space takes three

/** What in pasted lines tells of a trap, in one line; nothing where no cause is told. */
export function trapIn(text) {
  if (!/cause\b/i.test(text)) return "";
  return (text.match(OF_A_TRAP) ?? []).map((one) => one.replace(/\s+/g, " ")).join(" ").slice(-LONGEST);
}
