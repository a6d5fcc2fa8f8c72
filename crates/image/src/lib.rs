//! Image formats of freestone: a manifest in, a plan out
