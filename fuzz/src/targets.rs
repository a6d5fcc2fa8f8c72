//! The decoders.

mod archive;
mod git;
mod manifest;
mod store;

use crate::Target;

/// All targets. Each decoder of bytes from outside has one.
pub const TARGETS: &[Target] = &[
    Target { name: "header", run: store::header, seeds: store::headers },
    Target { name: "hint", run: store::hint, seeds: store::hints },
    Target { name: "upstream", run: store::upstream, seeds: store::upstreams },
    Target { name: "names", run: store::names, seeds: store::all_names },
    Target { name: "ref-entry", run: store::ref_entry, seeds: store::ref_entries },
    Target { name: "condemned", run: store::condemned, seeds: store::condemned_lists },
    Target { name: "runs", run: store::runs, seeds: store::runs_files },
    Target { name: "revision", run: store::revision, seeds: store::revisions },
    Target { name: "revision-file", run: store::revision_file, seeds: store::revision_files },
    Target { name: "pack-table", run: store::pack_table, seeds: store::pack_tables },
    Target { name: "segment", run: store::segment, seeds: store::segments },
    Target { name: "frame", run: store::frame, seeds: store::frames },
    Target { name: "references", run: store::references, seeds: store::all_references },
    Target { name: "node", run: manifest::node, seeds: manifest::nodes },
    Target { name: "content-node", run: manifest::content_node, seeds: manifest::content_nodes },
    Target {
        name: "content-record",
        run: manifest::content_record,
        seeds: manifest::content_records,
    },
    Target { name: "pax", run: archive::pax, seeds: archive::pax_payloads },
    Target { name: "archive", run: archive::archive, seeds: archive::archives },
    Target { name: "git-commit", run: git::commit, seeds: git::commits },
    Target { name: "git-tree", run: git::tree, seeds: git::trees },
];
