import { type Attempt, compareBytes } from "#proto";
import type { Engine, Range } from "#storage";
import { type DedupRow, decodeDedupRow, encodeDedupValue } from "./dedup-row.ts";
import { Heap } from "./heap.ts";
import type { Effect } from "./operations.ts";
import type { RowTx } from "./tx.ts";

/** After this long past its deadline a record goes, whoever's it is: 10 min, in µs (R23, R24). */
export const keepMicros = 600_000_000;
/** Trimming is sliced (R13): rows one command, and one entry, may remove. Above one a command it catches up. */
const trimsPerCommand = 4;
const expiriesPerEntry = 32;
const loadPageRows = 1024;

/** What one session did, by sequence, and the same by (deadline, sequence). */
interface Session {
  readonly name: string;
  readonly bySequence: Map<number, DedupRow>;
  readonly byDeadline: Heap<DedupRow>;
}

/**
 * The applied attempts of routers (R22, R23): rows in `meta`, and an index of them in memory that is a
 * function of the rows alone. What is trimmed follows from rows, command and clock, never from the order in
 * which the index was built, so that replicas agree although one was loaded from a snapshot.
 */
export class DedupTable {
  readonly #sessions: Map<string, Session> = new Map();
  /** No row's deadline is below this: spares looking at every session for each entry. */
  #deadlineBoundMicros = Number.POSITIVE_INFINITY;
  /**
   * Set once a split has taken keys away. Records of those stay in the index until they come up, and count as
   * absent: dropping them at once would walk over all of it.
   */
  #kept: Range | undefined;

  /** The record of this very attempt. A session gives a sequence to one command only. */
  find(attempt: Attempt): DedupRow | undefined {
    const row = this.#sessions.get(attempt.session)?.bySequence.get(attempt.sequence);
    return row === undefined || this.#isForeign(row) ? undefined : row;
  }

  /** Rows outside of `range` belong to another shard from now on, which answers and trims by them. */
  keepOnly(range: Range): void {
    this.#kept = range;
  }

  /**
   * The rows of `other`'s range are this shard's too from now on, and `range` is both. What was kept here of
   * keys given away goes first: their rows may be others by now, or gone.
   */
  absorb(other: DedupTable, range: Range): void {
    const rows = [...this.#ownRows(), ...other.#ownRows()];
    this.clear();
    for (const row of rows) this.#add(row);
    this.#kept = range;
  }

  *#ownRows(): Generator<DedupRow> {
    for (const { bySequence } of this.#sessions.values())
      for (const row of bySequence.values()) if (!this.#isForeign(row)) yield row;
  }

  record(attempt: Attempt, key: Uint8Array, effect: Effect, tx: RowTx): void {
    const { session, sequence, deadlineMicros } = attempt;
    tx.put("meta", key, encodeDedupValue(effect, deadlineMicros));
    this.#add({ session, sequence, deadlineMicros, effect, key });
  }

  /** Lets go of what this session has had answered and whose deadline has passed. */
  trim(attempt: Attempt, clockMicros: number, tx: RowTx): void {
    const session = this.#sessions.get(attempt.session);
    if (session === undefined) return;
    for (let trims = 0; trims < trimsPerCommand; trims++) {
      const oldest = this.#oldestOf(session);
      if (oldest === undefined || oldest.deadlineMicros >= clockMicros) return;
      if (oldest.sequence >= attempt.lowestUnanswered) return;
      this.#removeOldest(session, tx);
    }
  }

  /** Lets go of what is 10 min past its deadline. */
  expire(clockMicros: number, tx: RowTx): void {
    for (let expiries = 0; expiries < expiriesPerEntry; expiries++) {
      if (this.#deadlineBoundMicros + keepMicros >= clockMicros) return;
      const oldest = this.#oldestSession();
      this.#deadlineBoundMicros = oldest?.byDeadline.peek()?.deadlineMicros ?? Number.POSITIVE_INFINITY;
      if (oldest === undefined || this.#deadlineBoundMicros + keepMicros >= clockMicros) return;
      this.#removeOldest(oldest, tx);
    }
  }

  /** Builds the index anew from the rows. @throws ProtocolError */
  load(engine: Engine, range: Range): void {
    this.clear();
    let rest: Range = range;
    for (;;) {
      const { rows, finished } = engine.scan(rest, { limit: loadPageRows });
      for (let i = 0; i < rows.length; i += 2)
        this.#add(decodeDedupRow(rows[i] as Uint8Array, rows[i + 1] as Uint8Array));
      const last = rows.at(-2);
      if (finished || last === undefined) return;
      rest = { ...rest, start: Buffer.concat([last, Buffer.of(0)]) };
    }
  }

  clear(): void {
    this.#sessions.clear();
    this.#kept = undefined;
    this.#deadlineBoundMicros = Number.POSITIVE_INFINITY;
  }

  #add(row: DedupRow): void {
    let session = this.#sessions.get(row.session);
    if (session === undefined) {
      session = { name: row.session, bySequence: new Map(), byDeadline: new Heap(endsBefore) };
      this.#sessions.set(row.session, session);
    }
    session.bySequence.set(row.sequence, row);
    session.byDeadline.push(row);
    this.#deadlineBoundMicros = Math.min(this.#deadlineBoundMicros, row.deadlineMicros);
  }

  #removeOldest(session: Session, tx: RowTx): void {
    const row = this.#forgetOldest(session);
    if (row !== undefined) tx.delete("meta", row.key);
  }

  /** Takes the session's oldest record out of the index, not out of the rows. */
  #forgetOldest(session: Session): DedupRow | undefined {
    const row = session.byDeadline.pop();
    if (row !== undefined && session.bySequence.get(row.sequence) === row)
      session.bySequence.delete(row.sequence);
    if (session.byDeadline.size === 0) this.#sessions.delete(session.name);
    return row;
  }

  /** The session's record that ends first, past those that a split has taken away. */
  #oldestOf(session: Session): DedupRow | undefined {
    let oldest = session.byDeadline.peek();
    while (oldest !== undefined && this.#isForeign(oldest)) {
      this.#forgetOldest(session);
      oldest = session.byDeadline.peek();
    }
    return oldest;
  }

  #isForeign({ key }: DedupRow): boolean {
    const kept = this.#kept;
    if (kept === undefined) return false;
    return compareBytes(key, kept.start) < 0 || (kept.end !== undefined && compareBytes(key, kept.end) >= 0);
  }

  /** The session of the row that ends first; sessions are as few as routers. */
  #oldestSession(): Session | undefined {
    let oldest: Session | undefined;
    for (const session of [...this.#sessions.values()]) {
      if (this.#oldestOf(session) === undefined) continue;
      if (oldest === undefined || isOlder(session, oldest)) oldest = session;
    }
    return oldest;
  }
}

function endsBefore(a: DedupRow, b: DedupRow): boolean {
  return (
    a.deadlineMicros < b.deadlineMicros || (a.deadlineMicros === b.deadlineMicros && a.sequence < b.sequence)
  );
}

function isOlder(a: Session, b: Session): boolean {
  const deadline = a.byDeadline.peek()?.deadlineMicros ?? Number.POSITIVE_INFINITY;
  const other = b.byDeadline.peek()?.deadlineMicros ?? Number.POSITIVE_INFINITY;
  return deadline < other || (deadline === other && a.name < b.name);
}
