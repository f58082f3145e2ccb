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
