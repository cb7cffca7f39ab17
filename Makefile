# Every verb is one line that calls cargo; what it does is in xtask/.
# A folder for each checkout: cargo takes what another one built for its own when its sources are older than that.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/freshet/target/$(firstword $(shell printf %s '$(CURDIR)' | cksum))
# By name of the program, not of the package: so that it shares its dependencies with all other builds of the workspace.
XTASK = cargo run --release --bin xtask --

.PHONY: help up down test soak verify bench generate
help: ## what the verbs do
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)
up: ## a Kubernetes with Freshet on it, and a message through it
	@$(XTASK) up
down: ## removes every trace of `make up`
	@$(XTASK) down
test: ## everything, unit to end to end
	@$(XTASK) test
soak: ## hours of load and faults
	@$(XTASK) soak
verify: ## formatting, lints, licences, generated files; changes nothing
	@$(XTASK) verify
bench: ## measurements
	@$(XTASK) bench
generate: ## writes the generated files again
	@$(XTASK) generate
