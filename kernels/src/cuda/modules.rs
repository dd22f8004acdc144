//! The PTX, embedded.

/// The PTX of a module: for compute capability 8.0 and above, or, of the modules for that, for 9.0 alone.
pub fn ptx(module: &str) -> Option<&'static str> {
    let found = PTX.iter().chain(HOPPER_PTX).find(|(name, _)| *name == module);
    found.map(|(_, text)| *text)
}

macro_rules! embed {
    ($list:ident, $target:literal: $($name:literal),* $(,)?) => {
        const $list: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../ptx/", $name, ".", $target, ".ptx")))),*];
    };
}

embed!(
    PTX, "sm_80":
    "activation",
    "batch_norm",
    "channel_sums",
    "conv3d",
    "conv3d_direct",
    "conv3d_weight_gradient",
    "conv3d_weights",
    "conv_transpose3d",
    "elementwise",
    "loss",
    "max_pool3d",
    "optimizer",
    "peak",
    "softmax_loss",
);

embed!(
    HOPPER_PTX, "sm_90a":
    "conv3d_hopper",
    "conv3d_hopper_weight_gradient",
    "conv_transpose3d_hopper",
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::{KERNELS, MODULES};
    use std::collections::BTreeSet;

    #[test]
    fn every_kernel_is_in_its_module() {
        let embedded: BTreeSet<&str> = PTX.iter().chain(HOPPER_PTX).map(|(name, _)| *name).collect();
        assert!(embedded.iter().eq(MODULES));
        for kernel in KERNELS {
            let entry = format!(".entry {}(", kernel.name);
            assert!(ptx(kernel.module).is_some_and(|text| text.contains(&entry)), "{}", kernel.name);
        }
    }

    #[test]
    fn any_driver_from_525_and_any_card_from_8_0_takes_it() {
        for (name, text) in PTX {
            assert!(text.contains(".version 8.0\n.target sm_80\n"), "{name}");
        }
        for (name, text) in HOPPER_PTX {
            assert!(text.contains(".version 8.0\n.target sm_90a\n"), "{name}");
        }
    }
}
