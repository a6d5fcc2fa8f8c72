//! Plans and images of manifests in memory, and what the strict model finds in them.

use crate::site::{Built, Counted, Image};
use freestone_core::{Plan, Result, path};
use freestone_image::fat::strict::{Member, check};
use freestone_image::fat::{FatOptions, FatPlan, FatType, Profile};
use freestone_image::{CheckReport, Container, ReadAt};
use freestone_manifest::Entry;

pub fn plan(built: &Built, options: FatOptions) -> Result<FatPlan<Counted>> {
    FatPlan::open(built.nodes.clone(), &built.root, options)
}

/// Returns the bytes of an image.
pub fn image(built: &Built, options: FatOptions) -> Vec<u8> {
    let plan = plan(built, options).unwrap();
    let mut bytes = vec![0; usize::try_from(plan.length()).unwrap()];
    Image { plan: &plan, built }.read_at(0, &mut bytes).unwrap();
    bytes
}

pub fn of_type(fat_type: FatType) -> FatOptions {
    FatOptions::default().with_type(Some(fat_type)).unwrap()
}

pub fn mirage() -> FatOptions {
    FatOptions::default().with_profile(Profile::Mirage).unwrap()
}

/// Returns options of every kind with which images of small content stay small.
pub fn all_options() -> Vec<FatOptions> {
    let any = FatOptions::default();
    vec![
        any,
        any.with_block_bytes(4096).unwrap(),
        any.with_free(100_000).unwrap(),
        any.with_length(Some(1 << 20), None).unwrap(),
        of_type(FatType::Fat12),
        of_type(FatType::Fat16),
        of_type(FatType::Fat32),
        mirage(),
        mirage().with_length(None, Some(40 << 20)).unwrap(),
        mirage().with_block_bytes(4096).unwrap(),
    ]
}

/// Returns the report of the strict model for an image, and what it found in it.
pub fn checked(image: &(impl ReadAt + ?Sized)) -> (CheckReport, Vec<Member>) {
    let mut members = Vec::new();
    let report = check(image, Container::File, &mut |member| {
        members.push(member.clone());
        Ok(())
    })
    .unwrap();
    (report, members)
}

/// Returns the time that FAT stores for `mtime`.
pub fn kept_time(mtime: i64) -> i64 {
    mtime.clamp(315_532_800, 4_354_819_198) / 2 * 2
}

/// Checks that the strict model takes the image and finds what the manifest holds.
pub fn assert_read_back(image: &[u8], built: &Built) -> Vec<Member> {
    let (report, members) = checked(image);
    let kept: Vec<_> = report.violations.kept().iter().map(ToString::to_string).collect();
    assert_eq!(kept, Vec::<String>::new());
    assert!(report.is_whole);
    assert!(report.name.unwrap().ends_with(&format!(" {}", built.root)));
    let told = |entry: &Entry| {
        let size = entry.size().unwrap_or(0);
        (entry.path.clone(), entry.is_directory(), kept_time(entry.mtime), size)
    };
    let expected: Vec<_> = built.entries.iter().map(told).collect();
    let found: Vec<_> = members
        .iter()
        .map(|member| (member.path.clone(), member.is_directory, member.mtime, member.size))
        .collect();
    assert_eq!(found, expected);
    for member in members.iter().filter(|member| member.size > 0) {
        let content = built.content(&member.path);
        let start = usize::try_from(member.runs[0].0).unwrap();
        assert!(image[start..start + content.len()] == content, "{}", path::display(&member.path));
        assert!(member.size < 65_536 || start.is_multiple_of(4096));
    }
    members
}
