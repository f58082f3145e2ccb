/** A broken invariant: a programmer's error, after which this node must not go on. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/**
 * Demands what must hold, in production too: a wrong replica stops rather than goes on.
 * @throws InvariantError with `why` when `holds` is false
 */
export function invariant(holds: boolean, why: string): asserts holds {
  if (!holds) throw new InvariantError(why);
}

/** Makes a `switch` total: a new kind does not compile until it is handled. */
export function unreachable(value: never): never {
  throw new InvariantError(`unhandled case: ${JSON.stringify(value)}`);
}
