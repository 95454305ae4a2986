//! What a reader knows of a filesystem beside its used map: what it is known by, and what could not be read.

use serde::{Deserialize, Serialize};

use crate::extent::ExtentMap;

/// Extents are in bytes from the start of the partition.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Parts {
    /// The filesystem's own records: without them nobody knows what the rest is.
    #[serde(default, skip_serializing_if = "ExtentMap::is_empty")]
    pub metadata: ExtentMap,
    /// What is described by records that cannot be read: neither used nor free. The used map has it too.
    #[serde(default, skip_serializing_if = "ExtentMap::is_empty")]
    pub unknown: ExtentMap,
    /// What could not be read and what was read instead, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}
