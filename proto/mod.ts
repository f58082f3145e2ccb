/**
 * Everything that crosses a wire or a disk: ids, message and record types, the MessagePack codec, key and
 * range encoding, epochs, error codes. Imports nothing of ours; open to every room.
 * @module
 */
export {
  type AdminRequest,
  type AdminResponse,
  adminMethod,
  decodeAdminRequest,
  decodeAdminResponse,
  encodeAdminRequest,
  encodeAdminResponse,
} from "./admin.ts";
export { bytesOfHex, compareBytes, concatBytes, equalBytes, hexOf, noBytes, prefixEnd } from "./bytes.ts";
export { decode, encode, FieldReader, ProtocolError } from "./codec.ts";
export {
  type Code,
  type CodePolicy,
  type ErrorFacts,
  errorCodes,
  KvorumError,
  type Outcome,
} from "./errors.ts";
export {
  type Address,
  addressOf,
  type BootId,
  type ClusterId,
  type GroupId,
  isName,
  type NodeId,
  nodeOf,
  placementGroup,
  type ReplicaId,
} from "./ids.ts";
export {
  dataKey,
  decodeKey,
  defaultSlots,
  encodedKeyOf,
  encodeKey,
  escapeKey,
  evenBoundaries,
  inRange,
  keyBytesMax,
  type Partition,
  rangesOverlap,
  slotBoundary,
  slotOf,
  unescapeKey,
} from "./keys.ts";
export {
  type Attempt,
  type Condition,
  type Consistency,
  decodeCommand,
  decodeReadRequest,
  decodeReadResponse,
  decodeWriteRequest,
  decodeWriteResponse,
  encodeCommand,
  encodeReadRequest,
  encodeReadResponse,
  encodeWriteRequest,
  encodeWriteResponse,
  type KvCommand,
  type KvOperation,
  kvMethods,
  type ReadRequest,
  type ReadResponse,
  type ReadResult,
  type StoredValue,
  type WriteRequest,
  type WriteResponse,
  type WriteResult,
} from "./kv.ts";
export {
  decodeRouteDelta,
  decodeRouteTable,
  encodeRouteDelta,
  encodeRouteTable,
  type Route,
  type RouteDelta,
  type RouteNode,
  type RouteTable,
  type RouteVersion,
  routesMethod,
} from "./routes.ts";
export { groupOfRow, groupRow, keyspaceRow, metaTags } from "./rows.ts";
export {
  descriptorFields,
  type Epoch,
  isNewerEpoch,
  type KeyspaceDescriptor,
  keyspaceFields,
  type ReplicaDescriptor,
  type ReplicaRole,
  readDescriptor,
  readKeyspace,
  type ShardDescriptor,
  tiles,
} from "./shards.ts";
