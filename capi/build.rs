//! Gives the shared library its name of record, which programs that link it ask the loader for.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libtapeloop.so.0");
}
