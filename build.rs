//! Facts for the linker. A build never edits the tree.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    // The number after ".so." changes when programs must be compiled again.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcrvideo.so.0");
    // The library's threads outlive dlclose, and so must its code.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // Two copies of the library in one process do not reach into each other.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-Bsymbolic");
}
