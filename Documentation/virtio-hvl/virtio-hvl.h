/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * virtio-hvl: the offsets and values of protocol.rst, for C.
 *
 * Made from rust/proto/ by tools/host-tests/make-header: change that, not this.
 * All words are little-endian. What the structures describe is memory that
 * somebody else writes at the same time: use them by volatile accesses, one word
 * at a time, and copy before checking.
 */
#ifndef VIRTIO_HVL_H
#define VIRTIO_HVL_H

#include <stddef.h>
#include <stdint.h>

/* Sizes and limits */
#define HVL_PAGE                           0x1000u
#define HVL_LINE                           0x40u
#define HVL_REGION_MIN                     0x12000u
#define HVL_REGION_MAX                     0xfffff000u
#define HVL_DEVICES_MAX                    0x20u
#define HVL_QUEUES_MAX                     0x40u
#define HVL_SHARE_MIN                      0x4000u
#define HVL_QUEUE_SIZE_MAX                 0x8000u
#define HVL_CHAIN_DESCRIPTORS_MAX          0x40u
#define HVL_CHAIN_BYTES_MAX                0x40000u
#define HVL_HEARTBEAT_PERIOD_MAX           0xea60u
#define HVL_VECTORS_MAX                    0x40u
#define HVL_CONFIG_MAX                     0x700u
#define HVL_TXN_MAX                        0x10u

/* Identity */
#define HVL_MAGIC                          0x4c564876u
#define HVL_VERSION_MAJOR                  2u
#define HVL_VERSION_MINOR                  1u
#define HVL_VERSION                        0x20001u
#define HVL_FEATURE_MSI                    1u
#define HVL_FEATURE_MEMORY                 2u
#define HVL_FEATURE_NOTIFY                 4u

/* Link header, offsets in the region */
#define HVL_LINK_IDENTITY                  0u
#define HVL_LINK_EPOCH                     8u
#define HVL_LINK_PEER_STATE                0x40u
#define HVL_LINK_HEARTBEAT                 0x44u
#define HVL_LINK_TEST_ACK                  0x48u
#define HVL_LINK_TEST_CAUSE                0x4cu
#define HVL_LINK_DRIVER_EPOCH_SEEN         0x50u
#define HVL_LINK_RINGS                     0x54u
#define HVL_LINK_BOOT_EPOCH                0x58u
#define HVL_LINK_DRIVER_VERSION            0x80u
#define HVL_LINK_DRIVER_EPOCH              0x84u
#define HVL_LINK_EPOCH_ACK                 0x88u
#define HVL_LINK_DRIVER_STATE              0x8cu
#define HVL_LINK_TEST_REQUEST              0x90u
#define HVL_LINK_VECTOR_COUNT              0x94u
#define HVL_LINK_RINGS_SEEN                0x98u
#define HVL_LINK_DRIVER_FEATURES           0x9cu
#define HVL_LINK_DEVICE_TABLE              0x400u
#define HVL_LINK_DEVICE_ENTRY              0x20u
#define HVL_LINK_DEVICE_EVENTS             0x800u
#define HVL_LINK_DEVICE_NOTIFIES           0x880u
#define HVL_LINK_VECTOR_TABLE              0xc00u
#define HVL_LINK_VECTOR_ENTRY              0x10u
#define HVL_LINK_IDENTITY_WORDS            0x10u
#define HVL_LINK_DEVICE_ENTRY_WORDS        8u
#define HVL_LINK_VECTOR_ENTRY_WORDS        4u

/* Device window, offsets in the window */
#define HVL_WINDOW_VIEW_SIZE               0x100u
#define HVL_WINDOW_CONFIG                  0x100u
#define HVL_WINDOW_TXN_SEQ                 0x800u
#define HVL_WINDOW_TXN_COUNT               0x804u
#define HVL_WINDOW_TXN_EPOCH               0x808u
#define HVL_WINDOW_CONFIG_VECTOR           0x80cu
#define HVL_WINDOW_NO_VECTOR               0xffffffffu
#define HVL_WINDOW_TXN_ENTRIES             0x840u
#define HVL_WINDOW_TXN_ENTRY               0x10u
#define HVL_WINDOW_DONE_SEQ                0x940u
#define HVL_WINDOW_DONE_STATUS             0x944u
#define HVL_WINDOW_DONE_INDEX              0x948u
#define HVL_WINDOW_CONFIG_EVENT            0x980u
#define HVL_WINDOW_QUEUE_DOORBELLS         0x9c0u
#define HVL_WINDOW_NOTIFY                  0xa00u
#define HVL_WINDOW_NOTIFY_SLOT             8u
#define HVL_WINDOW_QUEUE_EVENTS            0xc00u
#define HVL_WINDOW_QUEUE_VECTORS           0xd00u

/* PeerState */
#define HVL_PEER_ABSENT                    0u
#define HVL_PEER_INIT                      1u
#define HVL_PEER_READY                     2u
#define HVL_PEER_STOPPED                   3u
#define HVL_PEER_FAILED                    4u

/* DriverState */
#define HVL_DRIVER_ABSENT                  0u
#define HVL_DRIVER_ATTACHED                1u

/* TestCause */
#define HVL_TEST_DOORBELL                  1u
#define HVL_TEST_POLL                      2u

/* DoneStatus */
#define HVL_DONE_OK                        0u
#define HVL_DONE_BAD_OFFSET                1u
#define HVL_DONE_BAD_LENGTH                2u
#define HVL_DONE_BAD_VALUE                 3u
#define HVL_DONE_STALE                     4u
#define HVL_DONE_BAD_COUNT                 5u
#define HVL_DONE_FAILED                    6u

/* Registers of the view (VIRTIO 4.2.2) */
#define HVL_REG_MAGIC                      0u
#define HVL_REG_VERSION                    4u
#define HVL_REG_DEVICE_ID                  8u
#define HVL_REG_VENDOR_ID                  0xcu
#define HVL_REG_DEVICE_FEATURES            0x10u
#define HVL_REG_DEVICE_FEATURES_SEL        0x14u
#define HVL_REG_DRIVER_FEATURES            0x20u
#define HVL_REG_DRIVER_FEATURES_SEL        0x24u
#define HVL_REG_QUEUE_SEL                  0x30u
#define HVL_REG_QUEUE_SIZE_MAX             0x34u
#define HVL_REG_QUEUE_SIZE                 0x38u
#define HVL_REG_QUEUE_READY                0x44u
#define HVL_REG_QUEUE_NOTIFY               0x50u
#define HVL_REG_INTERRUPT_STATUS           0x60u
#define HVL_REG_INTERRUPT_ACK              0x64u
#define HVL_REG_STATUS                     0x70u
#define HVL_REG_QUEUE_DESC_LOW             0x80u
#define HVL_REG_QUEUE_DESC_HIGH            0x84u
#define HVL_REG_QUEUE_DRIVER_LOW           0x90u
#define HVL_REG_QUEUE_DRIVER_HIGH          0x94u
#define HVL_REG_QUEUE_DEVICE_LOW           0xa0u
#define HVL_REG_QUEUE_DEVICE_HIGH          0xa4u
#define HVL_REG_SHM_SEL                    0xacu
#define HVL_REG_SHM_LEN_LOW                0xb0u
#define HVL_REG_SHM_LEN_HIGH               0xb4u
#define HVL_REG_SHM_BASE_LOW               0xb8u
#define HVL_REG_SHM_BASE_HIGH              0xbcu
#define HVL_REG_QUEUE_RESET                0xc0u
#define HVL_REG_CONFIG_GENERATION          0xfcu

/* What two of them show */
#define HVL_MMIO_MAGIC                     0x74726976u
#define HVL_MMIO_VERSION                   2u

/* Device status (VIRTIO 2.1) */
#define HVL_STATUS_ACKNOWLEDGE             1u
#define HVL_STATUS_DRIVER                  2u
#define HVL_STATUS_DRIVER_OK               4u
#define HVL_STATUS_FEATURES_OK             8u
#define HVL_STATUS_NEEDS_RESET             0x40u
#define HVL_STATUS_FAILED                  0x80u

/* Feature bits (VIRTIO 6), numbers but for the last */
#define HVL_F_INDIRECT_DESC                0x1cu
#define HVL_F_EVENT_IDX                    0x1du
#define HVL_F_VERSION_1                    0x20u
#define HVL_F_ACCESS_PLATFORM              0x21u
#define HVL_F_RING_PACKED                  0x22u
#define HVL_F_IN_ORDER                     0x23u
#define HVL_F_ORDER_PLATFORM               0x24u
#define HVL_F_NOTIFICATION_DATA            0x26u
#define HVL_F_RING_RESET                   0x28u
#define HVL_F_MANDATORY                    UINT64_C(0x1300000000)

/* Device types (VIRTIO 5) */
#define HVL_DEVICE_NET                     1u
#define HVL_DEVICE_BLOCK                   2u
#define HVL_DEVICE_CONSOLE                 3u
#define HVL_DEVICE_ENTROPY                 4u
#define HVL_DEVICE_BALLOON                 5u
#define HVL_DEVICE_RPMSG                   7u
#define HVL_DEVICE_SCSI                    8u
#define HVL_DEVICE_P9                      9u
#define HVL_DEVICE_GPU                     0x10u
#define HVL_DEVICE_VSOCK                   0x13u
#define HVL_DEVICE_CRYPTO                  0x14u
#define HVL_DEVICE_IOMMU                   0x17u
#define HVL_DEVICE_MEM                     0x18u
#define HVL_DEVICE_SOUND                   0x19u
#define HVL_DEVICE_FS                      0x1au
#define HVL_DEVICE_PMEM                    0x1bu
#define HVL_DEVICE_SCMI                    0x20u
#define HVL_DEVICE_I2C                     0x22u
#define HVL_DEVICE_CAN                     0x24u
#define HVL_DEVICE_BLUETOOTH               0x28u
#define HVL_DEVICE_GPIO                    0x29u

/* Events of a console's control queues (VIRTIO 5.3.6.2) */
#define HVL_CONSOLE_DEVICE_READY           0u
#define HVL_CONSOLE_DEVICE_ADD             1u
#define HVL_CONSOLE_DEVICE_REMOVE          2u
#define HVL_CONSOLE_PORT_READY             3u
#define HVL_CONSOLE_IS_CONSOLE             4u
#define HVL_CONSOLE_RESIZE                 5u
#define HVL_CONSOLE_PORT_OPEN              6u
#define HVL_CONSOLE_PORT_NAME              7u

struct hvl_device_entry {
	uint32_t window_offset;
	uint32_t device_id;
	uint32_t queue_count;
	uint32_t config_length;
	uint32_t vendor_id;
	uint32_t reserved0[3];
};

struct hvl_vector_entry {
	uint32_t address_low;
	uint32_t address_high;
	uint32_t data;
	uint32_t reserved0;
};

struct hvl_link {
	uint32_t magic;
	uint32_t version;
	uint32_t epoch;
	uint32_t region_size;
	uint32_t peer_base_low;
	uint32_t peer_base_high;
	uint32_t device_count;
	uint32_t pool_offset;
	uint32_t pool_size;
	uint32_t heartbeat_period;
	uint32_t link_features;
	uint32_t doorbell_count;
	uint32_t own_doorbell_count;
	uint32_t reserved0[3];
	uint32_t peer_state;
	uint32_t heartbeat;
	uint32_t test_ack;
	uint32_t test_cause;
	uint32_t driver_epoch_seen;
	uint32_t rings;
	uint32_t boot_epoch;
	uint32_t reserved1[9];
	uint32_t driver_version;
	uint32_t driver_epoch;
	uint32_t epoch_ack;
	uint32_t driver_state;
	uint32_t test_request;
	uint32_t vector_count;
	uint32_t rings_seen;
	uint32_t driver_features;
	uint32_t reserved2[216];
	struct hvl_device_entry device_table[32];
	uint32_t device_event[32];
	uint32_t device_notify[32];
	uint32_t reserved3[192];
	struct hvl_vector_entry vector_table[64];
};

struct hvl_transaction_entry {
	uint32_t offset;
	uint32_t length;
	uint32_t value;
	uint32_t reserved0;
};

struct hvl_notify {
	uint32_t count;
	uint32_t data;
};

struct hvl_window {
	uint32_t view[64];
	uint8_t config[1792];
	uint32_t transaction_seq;
	uint32_t transaction_count;
	uint32_t transaction_epoch;
	uint32_t config_vector;
	uint32_t reserved0[12];
	struct hvl_transaction_entry transaction[16];
	uint32_t done_seq;
	uint32_t done_status;
	uint32_t done_index;
	uint32_t reserved1[13];
	uint32_t config_event;
	uint32_t reserved2[15];
	uint8_t queue_doorbell[64];
	struct hvl_notify notify[64];
	uint32_t queue_event[64];
	uint32_t queue_vector[64];
	uint32_t reserved3[128];
};

#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define HVL_ASSERT(name, what) _Static_assert(what, #name)
#else
#define HVL_ASSERT(name, what) struct hvl_assert_##name { unsigned int yes:(what) ? 1 : -1; }
#endif

HVL_ASSERT(hvl_device_entry_window_offset, offsetof(struct hvl_device_entry, window_offset) == 0x0);
HVL_ASSERT(hvl_device_entry_device_id, offsetof(struct hvl_device_entry, device_id) == 0x4);
HVL_ASSERT(hvl_device_entry_queue_count, offsetof(struct hvl_device_entry, queue_count) == 0x8);
HVL_ASSERT(hvl_device_entry_config_length, offsetof(struct hvl_device_entry, config_length) == 0xc);
HVL_ASSERT(hvl_device_entry_vendor_id, offsetof(struct hvl_device_entry, vendor_id) == 0x10);
HVL_ASSERT(hvl_device_entry_size, sizeof(struct hvl_device_entry) == 0x20);
HVL_ASSERT(hvl_vector_entry_address_low, offsetof(struct hvl_vector_entry, address_low) == 0x0);
HVL_ASSERT(hvl_vector_entry_address_high, offsetof(struct hvl_vector_entry, address_high) == 0x4);
HVL_ASSERT(hvl_vector_entry_data, offsetof(struct hvl_vector_entry, data) == 0x8);
HVL_ASSERT(hvl_vector_entry_size, sizeof(struct hvl_vector_entry) == 0x10);
HVL_ASSERT(hvl_link_magic, offsetof(struct hvl_link, magic) == 0x0);
HVL_ASSERT(hvl_link_version, offsetof(struct hvl_link, version) == 0x4);
HVL_ASSERT(hvl_link_epoch, offsetof(struct hvl_link, epoch) == 0x8);
HVL_ASSERT(hvl_link_region_size, offsetof(struct hvl_link, region_size) == 0xc);
HVL_ASSERT(hvl_link_peer_base_low, offsetof(struct hvl_link, peer_base_low) == 0x10);
HVL_ASSERT(hvl_link_peer_base_high, offsetof(struct hvl_link, peer_base_high) == 0x14);
HVL_ASSERT(hvl_link_device_count, offsetof(struct hvl_link, device_count) == 0x18);
HVL_ASSERT(hvl_link_pool_offset, offsetof(struct hvl_link, pool_offset) == 0x1c);
HVL_ASSERT(hvl_link_pool_size, offsetof(struct hvl_link, pool_size) == 0x20);
HVL_ASSERT(hvl_link_heartbeat_period, offsetof(struct hvl_link, heartbeat_period) == 0x24);
HVL_ASSERT(hvl_link_link_features, offsetof(struct hvl_link, link_features) == 0x28);
HVL_ASSERT(hvl_link_doorbell_count, offsetof(struct hvl_link, doorbell_count) == 0x2c);
HVL_ASSERT(hvl_link_own_doorbell_count, offsetof(struct hvl_link, own_doorbell_count) == 0x30);
HVL_ASSERT(hvl_link_peer_state, offsetof(struct hvl_link, peer_state) == 0x40);
HVL_ASSERT(hvl_link_heartbeat, offsetof(struct hvl_link, heartbeat) == 0x44);
HVL_ASSERT(hvl_link_test_ack, offsetof(struct hvl_link, test_ack) == 0x48);
HVL_ASSERT(hvl_link_test_cause, offsetof(struct hvl_link, test_cause) == 0x4c);
HVL_ASSERT(hvl_link_driver_epoch_seen, offsetof(struct hvl_link, driver_epoch_seen) == 0x50);
HVL_ASSERT(hvl_link_rings, offsetof(struct hvl_link, rings) == 0x54);
HVL_ASSERT(hvl_link_boot_epoch, offsetof(struct hvl_link, boot_epoch) == 0x58);
HVL_ASSERT(hvl_link_driver_version, offsetof(struct hvl_link, driver_version) == 0x80);
HVL_ASSERT(hvl_link_driver_epoch, offsetof(struct hvl_link, driver_epoch) == 0x84);
HVL_ASSERT(hvl_link_epoch_ack, offsetof(struct hvl_link, epoch_ack) == 0x88);
HVL_ASSERT(hvl_link_driver_state, offsetof(struct hvl_link, driver_state) == 0x8c);
HVL_ASSERT(hvl_link_test_request, offsetof(struct hvl_link, test_request) == 0x90);
HVL_ASSERT(hvl_link_vector_count, offsetof(struct hvl_link, vector_count) == 0x94);
HVL_ASSERT(hvl_link_rings_seen, offsetof(struct hvl_link, rings_seen) == 0x98);
HVL_ASSERT(hvl_link_driver_features, offsetof(struct hvl_link, driver_features) == 0x9c);
HVL_ASSERT(hvl_link_device_table, offsetof(struct hvl_link, device_table) == 0x400);
HVL_ASSERT(hvl_link_device_event, offsetof(struct hvl_link, device_event) == 0x800);
HVL_ASSERT(hvl_link_device_notify, offsetof(struct hvl_link, device_notify) == 0x880);
HVL_ASSERT(hvl_link_vector_table, offsetof(struct hvl_link, vector_table) == 0xc00);
HVL_ASSERT(hvl_link_size, sizeof(struct hvl_link) == 0x1000);
HVL_ASSERT(hvl_transaction_entry_offset, offsetof(struct hvl_transaction_entry, offset) == 0x0);
HVL_ASSERT(hvl_transaction_entry_length, offsetof(struct hvl_transaction_entry, length) == 0x4);
HVL_ASSERT(hvl_transaction_entry_value, offsetof(struct hvl_transaction_entry, value) == 0x8);
HVL_ASSERT(hvl_transaction_entry_size, sizeof(struct hvl_transaction_entry) == 0x10);
HVL_ASSERT(hvl_notify_count, offsetof(struct hvl_notify, count) == 0x0);
HVL_ASSERT(hvl_notify_data, offsetof(struct hvl_notify, data) == 0x4);
HVL_ASSERT(hvl_notify_size, sizeof(struct hvl_notify) == 0x8);
HVL_ASSERT(hvl_window_view, offsetof(struct hvl_window, view) == 0x0);
HVL_ASSERT(hvl_window_config, offsetof(struct hvl_window, config) == 0x100);
HVL_ASSERT(hvl_window_transaction_seq, offsetof(struct hvl_window, transaction_seq) == 0x800);
HVL_ASSERT(hvl_window_transaction_count, offsetof(struct hvl_window, transaction_count) == 0x804);
HVL_ASSERT(hvl_window_transaction_epoch, offsetof(struct hvl_window, transaction_epoch) == 0x808);
HVL_ASSERT(hvl_window_config_vector, offsetof(struct hvl_window, config_vector) == 0x80c);
HVL_ASSERT(hvl_window_transaction, offsetof(struct hvl_window, transaction) == 0x840);
HVL_ASSERT(hvl_window_done_seq, offsetof(struct hvl_window, done_seq) == 0x940);
HVL_ASSERT(hvl_window_done_status, offsetof(struct hvl_window, done_status) == 0x944);
HVL_ASSERT(hvl_window_done_index, offsetof(struct hvl_window, done_index) == 0x948);
HVL_ASSERT(hvl_window_config_event, offsetof(struct hvl_window, config_event) == 0x980);
HVL_ASSERT(hvl_window_queue_doorbell, offsetof(struct hvl_window, queue_doorbell) == 0x9c0);
HVL_ASSERT(hvl_window_notify, offsetof(struct hvl_window, notify) == 0xa00);
HVL_ASSERT(hvl_window_queue_event, offsetof(struct hvl_window, queue_event) == 0xc00);
HVL_ASSERT(hvl_window_queue_vector, offsetof(struct hvl_window, queue_vector) == 0xd00);
HVL_ASSERT(hvl_window_size, sizeof(struct hvl_window) == 0x1000);

#undef HVL_ASSERT

#endif
