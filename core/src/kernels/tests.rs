use super::*;

#[test]
fn the_scalar_set_is_always_there_and_first() {
    let names: std::vec::Vec<_> = KernelSet::available().map(KernelSet::name).collect();
    assert_eq!(names.first(), Some(&"scalar"));
    assert_eq!(names.last(), Some(&KernelSet::best().name()));
    assert!(KernelSet::by_name("scalar").is_some());
    assert!(KernelSet::by_name("x86_64/avx1024").is_none());
}
