#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Standard input and output are one connection: send the file $HVL_SEND on it and get as
# many bytes from it into $HVL_GET, at the same time. (One process that does both in turn
# gets stuck with an echo server as soon as all buffers on the way are full.)
cat "$HVL_SEND" &
head -c "$(stat -c %s "$HVL_SEND")" >"$HVL_GET"
wait $!
