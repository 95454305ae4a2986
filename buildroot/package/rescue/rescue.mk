################################################################################
#
# rescue
#
################################################################################

RESCUE_VERSION = 0.1.0
RESCUE_SITE = $(BR2_EXTERNAL_RESCUE_PATH)/..
RESCUE_SITE_METHOD = local
RESCUE_LICENSE = MIT or Apache-2.0
RESCUE_LICENSE_FILES = LICENSE
RESCUE_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = --exclude target --exclude build
RESCUE_CARGO_ENV = RUSTFLAGS="-C target-feature=+crt-static"
RESCUE_CARGO_BUILD_OPTS = --package init --package rescue-tui

# A local package is copied, not downloaded, so the step that vendors crates
# never runs: they are fetched here, as Cargo.lock names them.
define RESCUE_FETCH_CRATES
	cd $(@D) && $(TARGET_MAKE_ENV) $(PKG_CARGO_ENV) cargo fetch --locked
endef
RESCUE_POST_RSYNC_HOOKS += RESCUE_FETCH_CRATES

# Installed as /init, or fs/cpio would put a shell script there.
define RESCUE_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/target/$(RUSTC_TARGET_NAME)/release/init $(TARGET_DIR)/init
	$(INSTALL) -D -m 0755 $(@D)/target/$(RUSTC_TARGET_NAME)/release/rescue-tui $(TARGET_DIR)/bin/rescue-tui
	ln -sf rescue-tui $(TARGET_DIR)/bin/rescue
	for name in modprobe poweroff reboot halt; do ln -sf ../init $(TARGET_DIR)/sbin/$$name; done
endef

$(eval $(cargo-package))
