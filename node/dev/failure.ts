/** The flags are right, but this machine cannot run the cluster now: one line, exit code 1. */
export class DevFailure extends Error {}
