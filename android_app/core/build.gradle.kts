plugins {
    alias(libs.plugins.kotlin.jvm)
}

kotlin {
    explicitApi()
    jvmToolchain(17)
}

dependencies {
    api(libs.coroutines)
    testImplementation(libs.kotlin.test)
    testImplementation(libs.junit)
}

tasks.test {
    useJUnitPlatform()
    systemProperty("dreamlite.golden", providers.gradleProperty("dreamlite.golden").getOrElse(""))
}
