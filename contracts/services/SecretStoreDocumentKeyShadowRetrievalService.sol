// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {DocumentKeyShadowRetrieval} from "contracts/services/DocumentKeyShadowRetrieval.sol";
import {ServiceBase} from "contracts/services/ServiceBase.sol";

contract SecretStoreDocumentKeyShadowRetrievalService is DocumentKeyShadowRetrieval {
    constructor(address keyServerSetAddressInit) ServiceBase(keyServerSetAddressInit) {}
}
