import { setFlagsFromString } from "node:v8";

/** V8's own greatest factor, four times what the last full collection left, in percent above one. */
const heapFlag = "--heap-growing-percent=300";

/**
 * Lets the heap grow to four times what is alive before all of it is collected. V8 by itself allows a heap
 * that fills slowly little more than what is alive, so that a stream of snapshot chunks cost a node several
 * full collections a second, each of which stops the loop for 5 to 25 ms: that, not the stream's bytes, was
 * what users felt of a replica that moved. V8 reads it anew after each collection.
 */
export function letHeapGrow(): void {
  setFlagsFromString(heapFlag);
}
