//! The rules that a tar image must keep.

use crate::rule::rules;

rules! {
    /// A rule of the readers of tar archives, or of freestone's own layout.
    TarRule

    readers {
        /// The bytes of a header sum up to its checksum.
        Checksum "checksum" "a header with a wrong checksum stops every reader"
        /// Numbers in headers are octal.
        Octal "octal" "MirageOS's reader crashes on numbers that are not octal"
        /// Members are files and directories.
        MemberKind "member-kind" "MirageOS's reader takes links and devices for empty files"
        /// Payloads of `x`, `g`, `L` and `K` headers have 1 to 512 bytes.
        Payload "payload" "MirageOS's reader crashes on a payload of 0 bytes or more than 512"
        /// Payloads of `x` and `g` headers are pax records.
        PaxRecords "pax-records" "readers stop at malformed pax records"
        /// A pax key occurs once in a payload.
        PaxRepeated "pax-repeated" "if a key is repeated, some readers take the first, others the last"
        /// A path in pax is UTF-8, or is declared as binary before it.
        PaxCharset "pax-charset" "bsdtar ends with an error for a path that is not UTF-8"
        /// A member's own header comes directly after its `x` header.
        PaxFollower "pax-follower" "MirageOS's reader takes the header after an x for the member's own"
        /// A `g` header holds comments only.
        GlobalComment "global-comment" "other keys of a g header change every later member"
        /// Headers of kind `L` and `K` are named `././@LongLink`.
        LongName "long-name" "MirageOS's reader takes L and K headers of other names for files"
        /// The names of directories, and no others, end in `/`.
        DirectorySlash "directory-slash" "MirageOS's reader recognises directories by the / alone"
        /// Directories have no data.
        DirectoryData "directory-data" "readers disagree about whether to skip such data"
        /// A directory comes before what is in it.
        DirectoryFirst "directory-first" "MirageOS's reader forgets the files that came before their directory"
        /// A directory comes once.
        DirectoryOnce "directory-once" "MirageOS's reader forgets the files that came before the second header"
        /// A file comes once.
        FileOnce "file-once" "the last one hides the others"
        /// A path is not both a file and a directory.
        OneKind "one-kind" "MirageOS's reader crashes, or forgets the directory"
        /// Names have no empty part, no `.` and no `..`.
        Name "name" "MirageOS takes such parts literally, and other readers drop them"
        /// All members are inside the image.
        Inside "inside" "reading beyond the device ends a unikernel"
        /// There is no single zero block between members.
        LoneZeroBlock "lone-zero-block" "it ends the archive for GNU tar, but not for MirageOS"
        /// There is a member, or a filler.
        Empty "empty" "Python's tarfile takes an archive of nothing but a g header for damaged"
        /// Two zero blocks end the archive.
        End "end" "MirageOS's reader continues beyond the device"
        /// A whole zero block of 4096 bytes follows the last member.
        Tail "tail" "MirageOS reads one more sector after data that end with a sector"
        /// The image's length is a multiple of 4096.
        Length "length" "Xen drops a trailing part of a 4096-byte sector"
    }

    own {
        /// The image begins with its name, and has no other `g` header.
        Head "head" "the image does not say what it is"
        /// Owners, modes, times and all other constant fields are as freestone writes them.
        Fields "fields" "freestone writes other bytes here"
        /// Pax records are there where ustar is too small, and hold only what does not fit.
        PaxNeed "pax-need" "freestone writes other pax records here"
        /// There are as many fillers as align the data, before all other headers of the member.
        Fillers "fillers" "freestone writes another number of ./ headers here"
        /// Contents of 64 KiB and more start at multiples of 4096.
        Alignment "alignment" "the content cannot be shared by reflink"
        /// Members come in manifest order.
        Order "order" "freestone writes members in manifest order"
        /// Every directory has a header of its own.
        Parents "parents" "HTTP servers show such a directory with a time of 1970"
        /// All bytes that are not headers or contents are zero.
        Padding "padding" "freestone writes zeros here"
        /// The image is as long as its options say.
        Size "size" "the options say another length"
    }
}
