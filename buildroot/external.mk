include $(sort $(wildcard $(BR2_EXTERNAL_RESCUE_PATH)/package/*/*.mk))
