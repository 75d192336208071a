//! The tests find libtorch without LD_LIBRARY_PATH.

#[test]
fn a_tensor_can_be_made() {
    let tensor = tch::Tensor::from_slice(&[1.0f32, 2.0, 3.5]);
    assert_eq!(tensor.sum(tch::Kind::Float).double_value(&[]), 6.5);
}
