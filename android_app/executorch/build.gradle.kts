plugins {
    alias(libs.plugins.android.library)
    alias(libs.plugins.kotlin.android)
}

android {
    namespace = "dreamlite.executorch"
    compileSdk = 35

    defaultConfig {
        minSdk = 29
        consumerProguardFiles("consumer-rules.pro")
        ndk { abiFilters += "arm64-v8a" }
    }

    // xnnpack runs on every phone; qnn brings Qualcomm's runtime as well.
    flavorDimensions += "backend"
    productFlavors {
        create("xnnpack") { dimension = "backend" }
        create("qnn") { dimension = "backend" }
    }
}

kotlin {
    explicitApi()
    jvmToolchain(17)
}

dependencies {
    api(project(":core"))
    "xnnpackApi"(libs.executorch)
    "qnnApi"(libs.executorch.qnn)
}
