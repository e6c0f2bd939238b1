//! placeholder
pub mod decision;
pub mod digest;
pub mod facts;
pub mod policy;
/// placeholder
pub mod ranking {
    /// placeholder
    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
    pub struct Rank;
}
