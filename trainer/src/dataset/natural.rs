//! The order of names with numbers in them: `image2` before `image10`.

use std::cmp::Ordering;

/// Compares two names; runs of digits compare as numbers, of any length.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while let (Some(x), Some(y)) = (a.first(), b.first()) {
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let (digits_a, digits_b);
            (digits_a, a) = split_digits(a);
            (digits_b, b) = split_digits(b);
            let (value_a, value_b) = (strip_zeros(digits_a), strip_zeros(digits_b));
            let order =
                (value_a.len(), value_a, digits_a.len()).cmp(&(value_b.len(), value_b, digits_b.len()));
            if order != Ordering::Equal {
                return order;
            }
        } else if x != y {
            return x.cmp(y);
        } else {
            (a, b) = (&a[1..], &b[1..]);
        }
    }
    a.len().cmp(&b.len())
}

fn split_digits(name: &[u8]) -> (&[u8], &[u8]) {
    name.split_at(name.iter().position(|c| !c.is_ascii_digit()).unwrap_or(name.len()))
}

fn strip_zeros(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().take_while(|&&c| c == b'0').count()..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_sort_as_numbers() {
        let mut names = vec!["image10.png", "image2.png", "image1.png", "image02.png", "image", "imagf1"];
        names.sort_by(|a, b| compare(a, b));
        assert_eq!(names, ["image", "image1.png", "image2.png", "image02.png", "image10.png", "imagf1"]);
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in "[a0-2]{0,6}", b in "[a0-2]{0,6}", c in "[a0-2]{0,6}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &b) == Ordering::Equal, a == b);
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }
    }
}
