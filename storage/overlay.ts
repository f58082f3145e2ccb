import type { Batch, Engine, Family, Range, Rows, ScanOptions } from "./engine.ts";
import { keyText } from "./key-text.ts";

interface Change {
  readonly key: Uint8Array;
  /** `undefined` deletes. */
  readonly value: Uint8Array | undefined;
}

type Changes = Map<string, Change>;

/**
 * A batch that reads its own changes: for code that applies several entries in one turn and must see what
 * the earlier ones did before anything is written. Valid until its batch is written; then make another.
 */
export class OverlayBatch implements Batch {
  /** The batch beneath; this is what is handed to `Engine.write`. */
  readonly batch: Batch;
  readonly #engine: Engine;
  readonly #changes: Readonly<Record<Family, Changes>> = {
    raft: new Map(),
    data: new Map(),
    history: new Map(),
    meta: new Map(),
  };

  /** @param batch - empty, or with changes this overlay need not see; by default a new one */
  constructor(engine: Engine, batch: Batch = engine.batch()) {
    this.#engine = engine;
    this.batch = batch;
  }

  get size(): number {
    return this.batch.size;
  }

  get bytes(): number {
    return this.batch.bytes;
  }

  put(family: Family, key: Uint8Array, value: Uint8Array): void {
    this.batch.put(family, key, value);
    this.#changes[family].set(keyText(key), { key, value });
  }

  delete(family: Family, key: Uint8Array): void {
    this.batch.delete(family, key);
    this.#changes[family].set(keyText(key), { key, value: undefined });
  }

  get(family: Family, key: Uint8Array): Uint8Array | undefined {
    const changes = this.#changes[family];
    if (changes.size > 0) {
      const change = changes.get(keyText(key));
      if (change !== undefined) return change.value;
    }
    return this.#engine.get(family, key);
  }

  /** As `Engine.scan`, with the batch's changes in it. Sorts the changes of the range: not for each put. */
  scan(range: Range, options: ScanOptions): Rows {
    const { limit, maxBytes = Number.POSITIVE_INFINITY, reverse = false } = options;
    const changes = this.#changesIn(range, reverse);
    if (changes.length === 0) return this.#engine.scan(range, options);
    const rows: Uint8Array[] = [];
    let bytes = 0;
    for (const row of mergeRows(baseRows(this.#engine, range, limit, reverse), changes, reverse)) {
      if (rows.length >= 2 * limit || bytes >= maxBytes) break;
      rows.push(row.key, row.value);
      bytes += row.key.length + row.value.length;
    }
    return { rows, finished: rows.length < 2 * limit && bytes < maxBytes };
  }

  /** The changes inside `range` in the order of the walk. */
  #changesIn(range: Range, reverse: boolean): TextChange[] {
    const start = keyText(range.start);
    const end = range.end && keyText(range.end);
    const inside: TextChange[] = [];
    for (const [text, change] of this.#changes[range.family]) {
      if (text >= start && (end === undefined || text < end)) inside.push({ text, ...change });
    }
    return inside.sort((a, b) => (isBefore(a.text, b.text, reverse) ? -1 : 1));
  }
}

interface TextChange extends Change {
  readonly text: string;
}

interface TextRow {
  readonly text: string;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

function isBefore(a: string, b: string, reverse: boolean): boolean {
  return reverse ? a > b : a < b;
}

/** The engine's rows of a range, read page by page as far as they are wanted. */
function* baseRows(engine: Engine, range: Range, pageRows: number, reverse: boolean): Generator<TextRow> {
  let rest = range;
  for (;;) {
    const page = engine.scan(rest, { limit: pageRows, maxBytes: 256 * 1024, reverse });
    let last: Uint8Array | undefined;
    for (let at = 0; at < page.rows.length; at += 2) {
      const key = page.rows[at] as Uint8Array;
      yield { text: keyText(key), key, value: page.rows[at + 1] as Uint8Array };
      last = key;
    }
    if (page.finished || last === undefined) return;
    rest = reverse ? { ...range, end: last } : { ...range, start: Buffer.concat([last, Buffer.of(0)]) };
  }
}

/** Both in the order of the walk; where a key is in both, the change counts. */
function* mergeRows(
  base: Generator<TextRow>,
  changes: readonly TextChange[],
  reverse: boolean,
): Generator<TextRow> {
  let row = base.next();
  for (const { text, key, value } of changes) {
    while (row.done !== true && isBefore(row.value.text, text, reverse)) {
      yield row.value;
      row = base.next();
    }
    if (row.done !== true && row.value.text === text) row = base.next();
    if (value !== undefined) yield { text, key, value };
  }
  while (row.done !== true) {
    yield row.value;
    row = base.next();
  }
}
