//! Values as people write and read them: names of revisions, sizes, times.

pub mod duration;
pub mod name;
pub mod size;
pub mod time;
