//! The rules that a FAT image must keep.

use crate::rule::rules;

rules! {
    /// A rule of the readers of FAT, or of freestone's own layout.
    FatRule

    readers {
        /// The boot sector has its signature, and numbers that make sense.
        Boot "boot" "readers do not recognise it as a FAT file system"
        /// The file system is inside the image.
        Inside "inside" "reading beyond the device fails"
        /// The tables have an entry for each cluster.
        TableLength "table-length" "some clusters cannot be reached"
        /// The tables are equal.
        TablesEqual "tables-equal" "readers differ in which table they follow"
        /// The first two entries of the table hold the medium and an end mark.
        TableStart "table-start" "checkers take the file system for damaged"
        /// FAT32's FSInfo is right, and so is the copy of the boot sector.
        Info "info" "Linux takes the number of free clusters from it, and checkers complain"
        /// Each chain leads from cluster to cluster to an end, and a cluster is in one chain only.
        Chain "chain" "files are cut short, or show each other's content"
        /// A chain is as long as its file.
        ChainLength "chain-length" "the file is cut short, or space is lost"
        /// Every used cluster belongs to a file or directory.
        Lost "lost" "checkers complain, and the space cannot be used"
        /// Short names have legal characters only, and occur once in a directory.
        ShortName "short-name" "readers without long names find another file"
        /// Long names are whole, and belong to the short name after them.
        LongName "long-name" "readers show the short name instead"
        /// Names are such that FAT can hold them, and do not differ by case alone.
        Name "name" "some readers cannot find the file, or find another one"
        /// Directories begin with `.` and `..`, except the root.
        Dots "dots" "checkers complain, and paths with .. lead elsewhere"
        /// Directories have at most 65,536 slots, and paths at most 4,095 bytes.
        Limit "limit" "readers stop before the end"
        /// Dates and times exist.
        Time "time" "readers show odd times"
        /// The image's length is a multiple of 4096.
        Length "length" "Xen drops a trailing part of a 4096-byte sector"
        /// MirageOS: FAT16, with a number of clusters that its reader takes for FAT16.
        MirageType "mirage-type" "MirageOS's reader fails on FAT12 and shows an empty FAT32"
        /// MirageOS: a long name ends with a NUL, a short name has no long one, and there is no
        /// label.
        MirageName "mirage-name" "MirageOS's reader does not find the file"
    }

    own {
        /// The head says what the image is, and its parts are as large as its options say.
        Head "head" "the image is not what its head says"
        /// Clusters are given out in manifest order.
        Placement "placement" "freestone puts it elsewhere"
        /// Entries come in manifest order, with the short names and fields that freestone writes.
        Slots "slots" "freestone writes other bytes here"
        /// All other bytes are zero.
        Padding "padding" "freestone writes zeros here"
        /// The image is as long as its options say.
        Size "size" "the options say another length"
    }
}
