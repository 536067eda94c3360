//! Loss and duplication, proven by counting row versions.
