//! What freestone's tests share: sources in memory, reading back what was pushed, stores made
//! by hand or frozen, bytes that were changed, backends that record, fail, crash or are not alone,
//! what every backend must do, a network in bad weather, and where the checkout is.

mod cases;
mod checkout;
pub mod conformance;
mod crash;
mod disorder;
mod distance;
mod faulty;
mod forge;
mod frozen;
mod hooked;
mod memory;
mod mutation;
mod proxy;
mod reading;
mod recording;

pub use cases::cases;
pub use checkout::{corpus, top};
pub use crash::{CrashingDisk, Survival, fsync, synced};
pub use disorder::{Beginning, Disordered};
pub use distance::Distant;
pub use faulty::{Faults, Faulty};
pub use forge::{Forge, compress, pack_name, write_pack, write_segment};
pub use frozen::Frozen;
pub use hooked::{Hook, Hooked, Operation};
pub use memory::{MemorySource, noise, push_tree, text};
pub use mutation::{Dice, mutate};
pub use proxy::{Happened, Proxy, Weather};
pub use reading::{ReadBack, Reading, findings};
pub use recording::{Recorded, Recording};
