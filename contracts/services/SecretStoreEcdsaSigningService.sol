// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {EcdsaSigning} from "contracts/services/EcdsaSigning.sol";
import {ServiceBase} from "contracts/services/ServiceBase.sol";

contract SecretStoreEcdsaSigningService is EcdsaSigning {
    constructor(address keyServerSetAddressInit) ServiceBase(keyServerSetAddressInit) {}
}
