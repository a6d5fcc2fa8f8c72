//! The manifest rope of freestone: sorted entries as a Merkle tree of nodes
