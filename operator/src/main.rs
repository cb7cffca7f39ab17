//! crd printing
fn main() {
    let crd = freshet_operator_api::mqtt_cluster_crd();
    print!("{}", serde_saphyr::to_string(&crd).unwrap());
}
