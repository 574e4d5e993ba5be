// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ServerKeyGeneration} from "contracts/services/ServerKeyGeneration.sol";
import {ServiceBase} from "contracts/services/ServiceBase.sol";

contract SecretStoreServerKeyGenerationService is ServerKeyGeneration {
    constructor(address keyServerSetAddressInit) ServiceBase(keyServerSetAddressInit) {}
}
