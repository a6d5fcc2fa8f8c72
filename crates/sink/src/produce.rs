//! Producing an image, with its digests where they are asked for.

use crate::control::Control;
use crate::digesting::Digesting;
use crate::image::Image;
use crate::piece::Consumer;
use crate::report::Produced;
use crate::windows::run;
use freestone_core::Result;

/// Produces the whole image for `consumer`.
///
/// # Errors
/// The first error of the plan, the chunk source or the consumer; or the work was cancelled.
pub(crate) fn produce(
    image: &Image<'_>,
    control: &Control<'_>,
    consumer: &dyn Consumer,
) -> Result<Produced> {
    if !control.digest {
        return run(image, control, consumer);
    }
    let digesting = Digesting::new(consumer);
    let mut produced = run(image, control, &digesting)?;
    produced.digests = Some(digesting.finish());
    Ok(produced)
}
