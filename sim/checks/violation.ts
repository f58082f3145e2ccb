/** An invariant was seen broken. `check` names it; the run ends at the first. */
export class Violation extends Error {
  override readonly name = "Violation";
  readonly check: string;

  constructor(check: string, what: string) {
    super(`${check}: ${what}`);
    this.check = check;
  }
}
