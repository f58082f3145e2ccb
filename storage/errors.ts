/**
 * - `locked`: another engine has the directory (or simulated disk) open.
 * - `truncated_recovery`: what was synced is missing after recovery (R7); the node must be replaced.
 * - `open_failed`: the directory cannot be opened, for instance because its files are damaged.
 * - `write_failed`: this write or its sync failed; the engine takes no more writes (R8).
 * - `stopped`: an earlier write failed, so this one was refused unattempted (R8).
 * - `read_failed`: the disk gave an error or damaged bytes.
 * - `closed`: used after `close`, or after a simulated crash.
 */
export type StorageErrorCode =
  | "locked"
  | "truncated_recovery"
  | "open_failed"
  | "write_failed"
  | "stopped"
  | "read_failed"
  | "closed";

/** An operating error of an engine. Test `code`, never the message. */
export class StorageError extends Error {
  override readonly name = "StorageError";
  readonly code: StorageErrorCode;

  constructor(code: StorageErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }

  /** Whether `error` is a StorageError, of `code` where one is given. */
  static is(error: unknown, code?: StorageErrorCode): error is StorageError {
    return error instanceof StorageError && (code === undefined || error.code === code);
  }
}
