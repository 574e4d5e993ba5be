// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ServerKeyRetrieval} from "contracts/services/ServerKeyRetrieval.sol";
import {ServiceBase} from "contracts/services/ServiceBase.sol";

contract SecretStoreServerKeyRetrievalService is ServerKeyRetrieval {
    constructor(address keyServerSetAddressInit) ServiceBase(keyServerSetAddressInit) {}
}
